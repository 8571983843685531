"""A process that has imported everything, forks, and kills what it forked: commands killed with ``SIGKILL``.

``python killed_commands.py KILLS COMMAND…`` runs the command once for its duration;
then up to a random moment of that, until KILLS were killed; then once more to its end. See ``test_soak.py``.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from fna_mm.cli import main


def contents(folder):
    """Path → content of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


def begin(command, log):
    """Start the command in a process of its own; its process id."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    with open(log, 'a') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        main(command)
    except SystemExit as end:
        os._exit(end.code or 0)
    os._exit(0)


def finish(command, log):
    """Run the command to its end; the seconds that it took."""
    start = time.monotonic()
    _, status = os.waitpid(begin(command, log), 0)
    assert os.waitstatus_to_exitcode(status) == 0, Path(log).read_text()[-3000:]
    return time.monotonic() - start


def clear(folder, inputs):
    """Remove every file that is no input, and folders that are empty then."""
    for name in set(contents(folder)) - set(inputs):
        (folder / name).unlink()
    for path in sorted((path for path in folder.rglob('*') if path.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir()


def run(kills, folder, command):
    """Kill a command again and again; the inputs stay, and outputs are whole or absent.

    Args:
        kills (int): How often. Where it has ended before, it does not count.
        folder (Path): The folder of the inputs, which is the current one.
        command (list[str]): The command's arguments.
    """
    log = folder.parent / 'log.txt'
    inputs = contents(folder)
    seconds = finish(command, log)
    whole = set(contents(folder)) - set(inputs)
    assert whole, 'the command wrote nothing'
    clear(folder, inputs)
    killed = ended = seen = 0
    while killed < kills:
        if random.random() < .3:  # from the start; else what the last one left is there
            clear(folder, inputs)
        pid = begin(command, log)
        time.sleep(random.uniform(0, 1.05 * seconds))
        if os.waitpid(pid, os.WNOHANG)[0]:
            ended += 1
        else:
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:  # it has no group of its own yet
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            killed += 1
        found = contents(folder)
        assert all(found[name] == content for name, content in inputs.items()), 'an input has changed'
        for name in set(found) - set(inputs):
            if not name.endswith('.tmp'):
                seen += 1
                check(folder / name)
    finish(command, log)
    assert {name for name in whole if '.log' not in name} <= set(contents(folder)), 'an output is missing'
    left = [name for name in contents(folder) if name.endswith('.tmp')]
    assert not left, f'{left} stayed'
    return dict(kills=killed, ended=ended, outputs_read=seen, seconds=round(seconds, 2))


def check(path):
    """Read a file to its end, by its kind."""
    if path.suffix == '.pth':
        torch.load(path, weights_only=True)
    elif path.suffix == '.json':
        json.loads(path.read_text())
    elif path.suffix == '.html':
        assert path.read_text().rstrip().endswith('</html>'), path
    elif path.suffix == '.onnx':
        import onnx
        onnx.checker.check_model(onnx.load(path))
    elif path.suffix == '.py':
        compile(path.read_text(), path, 'exec')
    elif path.suffix == '.svg':
        assert path.read_text().rstrip().endswith('</svg>'), path


if __name__ == '__main__':
    torch.set_num_threads(1)
    random.seed()
    kills, *command = sys.argv[1:]
    main(['arch', 'show', 'mobilenet_v2'], standalone_mode=False)
    import mmseg  # noqa: F401  what the commands import, before the first fork
    import onnxruntime  # noqa: F401

    import fna_mm.adaptation
    import fna_mm.export
    import fna_mm.report  # noqa: F401
    print(json.dumps(run(int(kills), Path.cwd(), command)))
