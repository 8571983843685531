"""The ``fna`` command: arguments only, every command is one call."""

import sys

import click


@click.group(context_settings=dict(help_option_names=['-h', '--help']))
def main() -> None:
    """FNA for MMDetection and MMSegmentation."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
