"""The process in which libFuzzer runs a target: ``python -m fuzz.libfuzzer TARGET SECONDS FOLDER``.

It is a process of its own, because libFuzzer ends it, and because modules are instrumented while they are imported.
"""

import sys
from pathlib import Path


def main(name, seconds, folder):
    """Run a target; never returns.

    Args:
        name (str): Name of the target.
        seconds (str): How long.
        folder (str): Where the input that goes wrong is kept.
    """
    import atheris
    with atheris.instrument_imports(include=['fna_mm']):
        from fuzz import targets
    target, work = targets.TARGETS[name], Path(folder) / f'{name}_libfuzzer'
    new, words = work / 'corpus', work / 'words'
    new.mkdir(parents=True, exist_ok=True)
    words.write_text(''.join('"' + ''.join(f'\\x{byte:02x}' for byte in word) + '"\n' for word in target.words))
    # New inputs go into the first of the two folders.
    limits = [f'-max_total_time={max(1, round(float(seconds)))}', '-max_len=4096', '-rss_limit_mb=4096']
    atheris.Setup([sys.argv[0], *limits, '-print_final_stats=1', f'-dict={words}',
                   f'-artifact_prefix={folder}/{name}_', str(new), str(targets.CORPUS / name)], target)
    atheris.Fuzz()


if __name__ == '__main__':
    main(*sys.argv[1:])
