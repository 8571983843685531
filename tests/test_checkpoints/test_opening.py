import contextlib
import functools
import http.server
import os
import pickle
import sys
import threading
import urllib.error
import zipfile
from argparse import Namespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fna_mm.checkpoints.opening import load_checkpoint, resolve_checkpoint
from fna_mm.checkpoints.safe_globals import TORCH_LOADS_SAFELY

STATE = {'conv1.conv.weight': torch.arange(400.), 'conv1.bn.weight': torch.ones(4)}


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path), )


def assert_state(loaded, expected=STATE):
    assert list(loaded) == list(expected)
    for key, value in expected.items():
        assert torch.equal(loaded[key], value)


# Errors, each named for what it is


def save(content, **kwargs):
    return lambda path: torch.save(content, path, **kwargs)


def legacy(content):
    return save(content, _use_new_zipfile_serialization=False)


def dump(content, protocol=2):
    return lambda path: path.write_bytes(pickle.dumps(content, protocol))


def cut(write, share):
    def write_part(path):
        write(path)
        path.write_bytes(path.read_bytes()[:int(path.stat().st_size * share)])
    return write_part


def other_zip(path):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('readme.txt', 'no tensors here')


def deflated(path):
    """A checkpoint whose pickle is a thousand times as large as the file."""
    torch.save(dict(STATE, text='x' * 10**7), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


NO_CHECKPOINT, TRUNCATED = 'it is no checkpoint of PyTorch; its first bytes are ', 'it is truncated or damaged'
CODE = 'it holds more than tensors: opening it would run code, {}. That was refused, nothing of it was run'
FILES = {
    'empty': (lambda path: path.write_bytes(b''), 'it is empty'),
    'text': (lambda path: path.write_text('backbone: MobileNetV2'), NO_CHECKPOINT + "b'backbone: Mobile'"),
    'picture': (lambda path: path.write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(range(256))), NO_CHECKPOINT + r"b'\x89PNG"),
    'zip': (other_zip, 'it is a zip archive, but none that PyTorch wrote'),
    'module': (save(nn.Linear(2, 2)), CODE.format('torch.nn.modules.linear.Linear')),
    'legacy module': (legacy(nn.Linear(2, 2)), CODE.format('torch.nn.modules.linear.Linear')),
    'arguments': (save(dict(model=STATE, args=Namespace(lr=.1))), CODE.format('argparse.Namespace')),
    'pickle of an object': (dump(Namespace(lr=.1)), CODE.format('argparse.Namespace')),
    'TorchScript': (lambda path: torch.jit.save(torch.jit.script(nn.Identity()), path),
                    CODE.format('torch.jit.ScriptModule')),
    'old pickle of an object': (dump(Namespace(lr=.1), 0), CODE.format('copyreg._reconstructor')),
    'new pickle': (dump(Namespace(lr=.1), 4),
                   'it holds more than tensors: it is a pickle that may run code. That was' if TORCH_LOADS_SAFELY
                   else CODE.format('argparse.Namespace')),
    'pickle of numbers': (dump(dict(a=1)), NO_CHECKPOINT),
    **{f'zip cut at {share}': (cut(save(STATE), share), TRUNCATED) for share in (.01, .3, .7, .99)},
    **{f'legacy cut at {share}': (cut(legacy(STATE), share), TRUNCATED) for share in (.01, .05, .1, .2, .3, .7, .99)},
    'legacy module, cut': (cut(legacy(nn.Linear(300, 300)), .001), TRUNCATED),
    'pickle, cut': (cut(dump(dict(a='x' * 99)), .8), TRUNCATED),
    'deflated': (deflated, 'it is a zip archive, but none that PyTorch wrote: its members are compressed'),
    'a tensor of stride 0': (save(dict(STATE, x=torch.zeros(1).expand(10**6, 10**6))),
                             'a tensor of shape (1000000, 1000000) in it would have 4,000,000,000,000 bytes, the'),
    'the same in a list, legacy': (legacy([[torch.zeros(1).expand(10**6, 10**6)]]),
                                   'a tensor of shape (1000000, 1000000) in it would have 4,000,000,000,000 bytes, th'),
    'folder': (lambda path: path.mkdir(), 'it is a folder'),
}


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('kind', FILES)
def test_every_error_is_named_for_what_it_is(tmp_path, kind):
    write, message = FILES[kind]
    path = tmp_path / 'seed.pth'
    write(path)
    with pytest.raises(ValueError, match='seed') as caught:
        load_checkpoint(str(path))
    assert str(caught.value).startswith(f'checkpoint={str(path)!r} is no readable checkpoint: {message}')
    assert '\n' not in str(caught.value)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('write', [save, legacy, dump, lambda bomb: dump(bomb, 0), lambda bomb: dump(bomb, 4)])
def test_code_is_not_executed(tmp_path, write):
    marker, path = tmp_path / 'exploded', tmp_path / 'bomb.pth'
    write(Bomb(marker))(path)
    with pytest.raises(ValueError, match='it holds more than tensors: .* That was refused, nothing of it was run'):
        load_checkpoint(str(path))
    assert not marker.exists()
    if write in (save, legacy):
        torch.load(path, weights_only=False)  # the bomb is a real one
    else:
        pickle.loads(path.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize('write', [save, legacy])
def test_code_is_not_executed_whatever_the_environment_says(tmp_path, monkeypatch, write):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    marker, path = tmp_path / 'exploded', tmp_path / 'bomb.pth'
    write(Bomb(marker))(path)
    with pytest.raises(ValueError, match='it holds more than tensors'):
        load_checkpoint(str(path))
    assert not marker.exists()


def test_a_list_that_holds_itself(tmp_path):
    inside = [torch.ones(1)]
    inside.append(inside)
    torch.save(inside, tmp_path / 'x.pth')
    assert torch.equal(load_checkpoint(str(tmp_path / 'x.pth'))[1][1][0], torch.ones(1))


@pytest.mark.parametrize('write', [save, legacy])
def test_whole_files(tmp_path, write):
    write(STATE)(tmp_path / 'seed.pth')
    assert_state(load_checkpoint(str(tmp_path / 'seed.pth')))


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth': there is no such file"):
        load_checkpoint(str(tmp_path / 'nowhere.pth'))


# safetensors


@pytest.mark.parametrize('name', ['seed.safetensors', 'seed.pth', 'seed'])
def test_safetensors_by_suffix_or_content(tmp_path, name):
    pytest.importorskip('safetensors.torch').save_file(STATE, tmp_path / name)
    loaded = load_checkpoint(str(tmp_path / name))
    assert_state(dict(sorted(loaded.items(), reverse=True)))


@pytest.mark.parametrize(('name', 'share'), [
    ('x.safetensors', .001), ('x.safetensors', .1), ('x.safetensors', .9), ('x.pth', .9)])
def test_truncated_safetensors(tmp_path, name, share):
    pytest.importorskip('safetensors.torch')
    cut(lambda path: sys.modules['safetensors.torch'].save_file(STATE, path), share)(tmp_path / name)
    with pytest.raises(ValueError, match=r'x\.\w+. is no readable checkpoint: it is (truncated or damaged|empty)'):
        load_checkpoint(str(tmp_path / name))


def test_what_is_called_safetensors_and_is_none(tmp_path):
    pytest.importorskip('safetensors.torch')
    save(STATE)(tmp_path / 'x.safetensors')
    with pytest.raises(ValueError, match='it is truncated or damaged .*, or no safetensors file'):
        load_checkpoint(str(tmp_path / 'x.safetensors'))


@pytest.mark.parametrize('name', ['seed.safetensors', 'seed.pth'])
def test_without_safetensors(tmp_path, monkeypatch, name):
    """Written by hand: the length of the header, the header, the numbers."""
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (tmp_path / name).write_bytes(len(header).to_bytes(8, 'little') + header + bytes(4))
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    with pytest.raises(ImportError, match=rf'{name}. is a safetensors file, .* not installed: pip install safetensors'):
        load_checkpoint(str(tmp_path / name))


# Over the network


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder and the address under which it is served."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch_home'))
    folder = tmp_path / 'served'
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield folder, f'http://127.0.0.1:{httpd.server_port}'
        httpd.shutdown()
        thread.join()


def test_url(server):
    folder, url = server
    save(STATE)(folder / 'seed.pth')
    assert_state(load_checkpoint(f'{url}/seed.pth'))


def test_url_of_safetensors(server):
    folder, url = server
    pytest.importorskip('safetensors.torch').save_file(STATE, folder / 'seed.safetensors')
    assert set(load_checkpoint(f'{url}/seed.safetensors')) == set(STATE)


def test_url_with_code(server):
    folder, url = server
    save(Bomb(folder / 'exploded'))(folder / 'bomb.pth')
    with pytest.raises(ValueError, match=r'bomb\.pth. is no readable checkpoint: it holds more than tensors'):
        load_checkpoint(f'{url}/bomb.pth')
    assert not (folder / 'exploded').exists()


def test_url_of_nothing(server):
    with pytest.raises(urllib.error.HTTPError, match='404'):
        load_checkpoint(f'{server[1]}/nothing.pth')


# Any damage


@pytest.fixture(scope='session')
def small_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('files') / 'small.pth'
    legacy({'conv1.conv.weight': torch.arange(4.), 'meta': dict(epoch=3)})(path)
    return path, path.with_name('damaged.pth')


@given(st.data())
def test_a_damaged_file_is_a_value_error(small_file, data):
    """Whatever a disk or download does to a file, the user learns which file it was."""
    whole, path = small_file
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(ValueError):  # not every damage can be noticed
        load_checkpoint(str(path))


@given(st.binary(max_size=200))
def test_any_file_is_a_value_error(small_file, content):
    path = small_file[1]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'damaged\.pth.* is no readable checkpoint'):
        load_checkpoint(str(path))


def test_names_of_model_zoos(tmp_path):
    assert resolve_checkpoint('seed.pth') == 'seed.pth'
    assert resolve_checkpoint('https://example.org/x.pth') == 'https://example.org/x.pth'
    url = resolve_checkpoint('open-mmlab://mmdet/mobilenet_v2')
    assert url.startswith('https://')
    assert 'mobilenet' in url
    with pytest.raises(ValueError, match=r"open-mmlab:// has no 'mobilenet_v9'; its MobileNets.*'mmdet/mobilenet_v2'"):
        load_checkpoint('open-mmlab://mobilenet_v9')
