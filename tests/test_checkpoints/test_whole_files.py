"""Files are written whole, and never over what is read."""

import os
import subprocess
import sys

import pytest

from fna_mm.checkpoints.whole_files import check_outputs, put_whole, write_whole


@pytest.mark.parametrize('spelling', ['seed.pth', './seed.pth', 'folder/../seed.pth', 'link', 'hard', 'folder/link'])
def test_an_input_is_recognised_whatever_its_name(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'seed.pth').write_bytes(b'seed')
    (tmp_path / 'link').symlink_to('seed.pth')
    (tmp_path / 'folder/link').symlink_to('../seed.pth')
    os.link('seed.pth', 'hard')
    with pytest.raises(ValueError, match='cannot be written: it is one of the inputs'):
        check_outputs([spelling], ['seed.pth'])
    with pytest.raises(ValueError, match='cannot be written: it is another output'):
        check_outputs(['seed.pth', spelling])
    check_outputs(['new.pth', 'folder/new.pth'], ['seed.pth', 'https://somewhere/seed.pth', 'fna_retinanet'])


def test_what_is_no_file_is_not_written(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for path in ('/dev/null', str(tmp_path / 'pipe')):
        with pytest.raises(ValueError, match='it is no regular file'):
            write_whole({str(tmp_path / 'good'): b'1', path: b'2'})
    with pytest.raises(ValueError, match='it is a folder'):
        write_whole({str(tmp_path): b'1'})
    assert not (tmp_path / 'good').exists()


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / 'store').mkdir()
    (tmp_path / 'store/real').write_bytes(b'old')
    (tmp_path / 'link').symlink_to('store/real')
    write_whole({str(tmp_path / 'link'): b'new'})
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'store/real').read_bytes() == b'new'


def test_an_error_leaves_the_old_files(tmp_path, monkeypatch):
    (tmp_path / 'one').write_bytes(b'old')

    def full(source, target):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', full)
        with pytest.raises(OSError, match='No space'):
            write_whole({str(tmp_path / 'one'): b'new', str(tmp_path / 'two'): b'new'})
    assert [path.name for path in tmp_path.iterdir()] == ['one']
    assert (tmp_path / 'one').read_bytes() == b'old'


def test_what_a_killed_process_left_is_removed(tmp_path):
    """And what a living one writes is not touched."""
    child = subprocess.Popen([sys.executable, '-c', 'pass'])
    child.wait()
    (tmp_path / f'arch.json.{child.pid}.tmp').write_bytes(b'half')
    (tmp_path / f'arch.json.{os.getppid()}.tmp').write_bytes(b'half')
    (tmp_path / 'arch.json.notes.tmp').write_bytes(b'mine')
    put_whole({str(tmp_path / 'arch.json'): b'whole'})
    assert {path.name for path in tmp_path.iterdir()} == {'arch.json', f'arch.json.{os.getppid()}.tmp',
                                                          'arch.json.notes.tmp'}
