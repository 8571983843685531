"""Fuzz every target for its share of some seconds: ``cd tests && python -m fuzz.run 600``.

hypothesis makes inputs from a new random start; its coverage is that of code which imports alone do not run. Where
atheris is installed, it has half of the time: libFuzzer looks for inputs that reach code which none before has reached.
The inputs that went wrong are kept as files; a finding is repaired, and its file joins the corpus.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import io
import logging
import random
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import coverage
from hypothesis import HealthCheck, Phase, given, seed, settings

from fuzz import targets
from fuzz.targets import Finding, inputs

BATCH = 200


def _keep(name, data, folder):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{name}_{hashlib.sha256(data).hexdigest()[:12]}'
    path.write_bytes(data)
    return path


def with_hypothesis(name, seconds, folder):
    """Run a target on hypothesis' inputs.

    Args:
        name (str): Name of the target.
        seconds (float): How long.
        folder (Path): Where inputs that go wrong are kept.

    Returns:
        tuple: The number of inputs, and a sentence for every finding.
    """
    target, found, count, end = targets.TARGETS[name], {}, 0, time.monotonic() + seconds

    @given(inputs(target))
    @settings(max_examples=BATCH, deadline=None, database=None, derandomize=False, phases=(Phase.generate, ),
              suppress_health_check=list(HealthCheck))
    def batch(data):
        nonlocal count
        if time.monotonic() > end:
            return
        count += 1
        try:
            target(data)
        except Finding as finding:  # goes on: one fault must not hide the others
            found.setdefault(re.sub(r'\W.*', '', str(finding)), (data, finding))

    while time.monotonic() < end:
        seed(random.getrandbits(64))(batch)()
    return count, [f'{_keep(name, data, folder)}: {finding}' for data, finding in found.values()]


def with_atheris(name, seconds, folder):
    """Run a target under libFuzzer, in a process of its own.

    Args:
        name (str): Name of the target.
        seconds (float): How long.
        folder (Path): Where inputs that go wrong are kept.

    Returns:
        tuple: The number of inputs, the edges that they reached, and the finding, if there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = subprocess.run([sys.executable, '-W', 'ignore', '-m', 'fuzz.libfuzzer', name, str(seconds), str(folder)],
                         text=True, errors='replace', capture_output=True)
    said = run.stdout + run.stderr
    count = re.search(r'number_of_executed_units: (\d+)', said)
    edges = re.findall(r'cov: (\d+)', said)
    if run.returncode and count is None:
        return 0, 0, [f'{name} under atheris: {said[-1500:]}']
    found = [f'{name} under atheris: {said[-1500:]}'] if run.returncode else []
    return int(count[1] if count else 0), int(edges[-1] if edges else 0), found


def main(arguments=None):
    """Fuzz; return 1 if something was found.

    Args:
        arguments (list[str], optional): Those of the command. Defaults to None: of this process.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('seconds', type=float)
    parser.add_argument('--only', choices=targets.TARGETS, help='One target alone.')
    parser.add_argument('--found', type=Path, default=Path('../work_dirs/fuzz'), help='Where findings are kept.')
    options = parser.parse_args(arguments)
    names = [options.only] if options.only else list(targets.TARGETS)
    atheris = importlib.util.find_spec('atheris') is not None
    if not atheris:
        print('atheris is not installed: hypothesis alone')
    share, everything = options.seconds / len(names), []
    warnings.simplefilter('ignore')
    logging.disable(logging.CRITICAL)
    for name in names:
        modules = targets.TARGETS[name].modules
        half = share / 2 if atheris else share
        measured = coverage.Coverage(source=[f'fna_mm.{module}' for module in modules], branch=True, data_file=None,
                                     config_file=False)
        measured.start()
        with contextlib.redirect_stderr(io.StringIO()):
            count, found = with_hypothesis(name, half, options.found)
        measured.stop()
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                share_of_code = f'{measured.report(file=io.StringIO()):.0f} %'
            except coverage.CoverageException:
                share_of_code = 'none'
        print(f'{name} with hypothesis: {count} inputs, {share_of_code} of {", ".join(modules)}')
        if half < share:
            count, edges, more = with_atheris(name, half, options.found)
            found += more
            print(f'{name} with atheris: {count} inputs, {edges} edges')
        for finding in found:
            print(f'FOUND {finding}')
        everything += found
    print(f'{len(everything)} findings' if everything else 'nothing was found')
    return int(bool(everything))


if __name__ == '__main__':
    sys.exit(main())
