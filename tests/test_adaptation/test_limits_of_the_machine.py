"""Memory that does not grow with the images, and a disk that is full."""

import errno
import os
import subprocess
import sys

import pytest
from toy_search import assert_same, load

from fna_mm.adaptation import AdaptOptions, adapt

OPTIONS = AdaptOptions(statistics_images=12, score_images=8, tolerance=100.)

PEAK = '''
import resource, sys
import torch
from fna_mm import FNAChildNet
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.statistics import collect, statistics_of
torch.set_num_threads(1)
net = FNAChildNet('mobilenet_v2').eval()
chain = Chain(net, (400, 667))
statistics = statistics_of(chain)
for _ in range(int(sys.argv[1])):
    collect(chain, torch.randn(1, 3, 400, 667), statistics)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
'''


@pytest.mark.slow
def test_the_memory_of_statistics_does_not_grow_with_the_images():
    environment = dict(os.environ, OMP_NUM_THREADS='1', MALLOC_MMAP_THRESHOLD_='65536')
    few, many = (int(subprocess.run([sys.executable, '-W', 'ignore', '-c', PEAK, str(number)], env=environment,
                                    capture_output=True, text=True, check=True).stdout) for number in (2, 8))
    assert many < 1.1 * few


@pytest.mark.parametrize('name', ['scores_0.json', 'child.pth', 'statistics.pth'])
def test_a_full_disk_says_so_and_nothing_is_lost(segmentor, tmp_path, monkeypatch, name):
    """The file in question cannot be written; with room again, the same command ends as if nothing had been."""
    from fna_mm.checkpoints import whole_files
    real, full = whole_files.write_whole, [True]

    def write(files):
        if full[0] and any(os.path.basename(path) == name for path in files):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(next(iter(files))))
        real(files)

    for module in ('flow', 'work_folder'):
        monkeypatch.setattr(f'fna_mm.adaptation.{module}.write_whole', write)
    with pytest.raises(OSError, match=r'No space left on device: .*work'):
        adapt(*segmentor, (.6, ), str(tmp_path / 'work'), OPTIONS)
    assert not list(tmp_path.rglob('*.tmp'))
    full[0] = False
    child, = adapt(*segmentor, (.6, ), str(tmp_path / 'work'), OPTIONS)
    other, = adapt(*segmentor, (.6, ), str(tmp_path / 'other'), OPTIONS)
    assert_same(load(f'{child.folder}/child.pth'), load(f'{other.folder}/child.pth'))
