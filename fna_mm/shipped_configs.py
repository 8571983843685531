"""Where this package's own configs are."""

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
