"""Where this package's own configs are."""

from difflib import get_close_matches
from pathlib import Path


def configs_dir() -> Path:
    """The folder of this package's configs: of the source tree if there is one, else the installed.

    Raises:
        FileNotFoundError: If neither exists.
    """
    package = Path(__file__).resolve().parent
    for folder in (package.parent / 'configs', package / '.mim' / 'configs'):
        if (folder / 'demo').is_dir():
            return folder
    raise FileNotFoundError(f'the configs of fna_mm are neither beside nor in {package}: install it again')


def config_names() -> list[str]:
    """Every config that can be trained, as :func:`config_path` takes it.

    Raises:
        FileNotFoundError: If the configs are not there.
    """
    folder = configs_dir()
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.py'))
    return [name for name in names if '_base_' not in name.split('/')]


def config_path(name: str) -> str:
    """The path of a config that came with this package.

    A config of one's own builds on it by ``_base_ = __import__('fna_mm').config_path('fna_retinanet_search.py')``:
    mmengine's ``package::config.py`` is closed to all but OpenMMLab's packages, but it evaluates ``_base_``.

    Args:
        name (str): Such as fna_retinanet_search.py or bccd/fna_ssdlite_search.py.

    Raises:
        ValueError: If there is no such config.
        FileNotFoundError: If the configs are not there.
    """
    names = config_names()
    if name not in names:
        near = get_close_matches(name, names, n=3, cutoff=.3) or names
        raise ValueError(f'fna_mm has no config {name!r}: expected {", ".join(near)} or another one that `fna configs` '
                         'lists')
    return str(configs_dir() / name)
