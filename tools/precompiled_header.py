"""Prints compiler flags with which C++ extensions of PyTorch are built several times as fast.

    CFLAGS="$(python tools/precompiled_header.py FOLDER)" pip install --no-build-isolation mmcv

Most of the time of such a build goes into PyTorch's headers, which every file includes, and into debug symbols. The
headers are compiled once, into FOLDER. Where that fails, the flags leave out the symbols alone.
"""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

#: What the C++ files of mmcv include, and the standard that mmcv asks for.
HEADER, STANDARD = 'torch/types.h', '-std=c++17'
NO_SYMBOLS = '-g0'


def base_flags() -> list[str]:
    """The flags that setuptools gives to every file. An environment's CFLAGS may replace them."""
    from setuptools._distutils.ccompiler import new_compiler  # codespell:ignore ccompiler
    from setuptools._distutils.sysconfig import customize_compiler
    compiler = new_compiler()
    customize_compiler(compiler)
    return [flag for flag in compiler.compiler_so[1:] if not flag.startswith('-I')]


def compile_header(header: Path, flags: Sequence[str]) -> None:
    """Compile a header, so that the compiler takes the result wherever the header is included.

    Args:
        header (Path): The header.
        flags (Sequence[str]): The flags; a file that includes it needs the same.

    Raises:
        OSError | subprocess.CalledProcessError: If it cannot be compiled.
    """
    from torch.utils.cpp_extension import include_paths
    folders = [*include_paths(), sysconfig.get_path('include')]
    subprocess.run([os.environ.get('CXX', 'c++'), *flags, STANDARD, *(f'-I{folder}' for folder in folders), '-w',
                    '-x', 'c++-header', str(header), '-o', f'{header}.gch'], check=True, stdout=sys.stderr)


def main(folder: str) -> str:
    """Compile the header; return the flags.

    Args:
        folder (str): Where it goes.
    """
    header = Path(folder).resolve() / 'torch_types.h'
    header.parent.mkdir(parents=True, exist_ok=True)
    header.write_text(f'#include <{HEADER}>\n', encoding='utf-8')
    flags = [NO_SYMBOLS]
    try:
        flags = [*base_flags(), NO_SYMBOLS]
        compile_header(header, flags)
    except (ImportError, OSError, subprocess.CalledProcessError) as error:
        print(f"PyTorch's headers cannot be compiled once for all files: {error}", file=sys.stderr)
        return ' '.join(flags)
    return ' '.join([*flags, '-include', str(header)])


if __name__ == '__main__':
    print(main(sys.argv[1]))
