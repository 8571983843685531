"""The steps of a run: what is called, and what must be done before."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tools.evidence.protocol import FOLDER, LESS, WHOLE, Rival, Task, in_order, last_checkpoint, rivals_of
from tools.evidence.searched_rivals import search_config, write_search
from tools.evidence.trained_to_the_end import DOUBLED, VALIDATED, write_doubled
from tools.results.adapted_runs import resumed, steps_of

#: The step of adapted_runs that all others need.
TRAINED = 'trained'
_THIS = ('python', '-m', 'tools.evidence')
#: Model → the steps that its rivals need beside the training.
_NEEDED = dict(random_fitted=('adapted', ), adapted=('adapted', ), grown=('grown', ),
               found_fitted=('adapted', 'prepared'))


class Job(NamedTuple):
    """A step of a run.

    Args:
        name (str): Its name.
        needs (tuple[str, ...]): Names of the steps that must be done before.
        command (Callable): Gives what is called; it is asked when these steps are done.
    """

    name: str
    needs: tuple[str, ...]
    command: Callable[[], list[str]]


def jobs_of(task: Task, seed: int, run: Path, checkpoint: str) -> list[Job]:
    """The steps of a run, in the order in which one process does them.

    Args:
        task (Task): The task.
        seed (int): Seed of the trainings, of the order of images and of the draws.
        run (Path): Folder of the run, as adapted_runs makes it.
        checkpoint (str): The ImageNet checkpoint.
    """
    prepared = _preparations(task, seed, run, checkpoint)
    found = [prepared[TRAINED]]
    for rival in in_order(rivals_of(task.name)):
        for name in _NEEDED.get(rival.model, ()):  # right before the first rival that needs it
            if prepared[name] not in found:
                found.append(prepared[name])
        found += _of_rival(task, rival, seed, run, checkpoint)
    return [*found, *(_of_the_end(task, run, checkpoint) if seed == 0 else ())]


def training_command(task: Task, seed: int, run: Path, checkpoint: str) -> list[str]:
    """The command that trains the model: that of adapted_runs, with the config of the size.

    Args:
        task (Task): The task.
        seed (int): Seed of the training.
        run (Path): Folder of the run.
        checkpoint (str): The ImageNet checkpoint.
    """
    command = next(steps_of(task.name, seed, run, checkpoint)).command
    return [*command[:3], str(task.trained), *command[4:]]


def _preparations(task: Task, seed: int, run: Path, checkpoint: str) -> dict[str, Job]:
    work = run / FOLDER

    def adapt(folder: str, *options: str) -> list[str]:
        return ['fna', 'adapt', str(task.trained), str(last_checkpoint(run / 'trained')), *options, '--schedule',
                str(task.share), '--seed', str(seed), '--work-dir', str(work / folder)]

    jobs = (
        Job(TRAINED, (), lambda: training_command(task, seed, run, checkpoint)),
        Job('adapted', (TRAINED, ), lambda: adapt(
            'adapted', *(word for budget in LESS for word in ('--budget', budget)))),
        Job('prepared', ('adapted', ), lambda: adapt('adapted', '--prepare-search', str(task.search))),
        Job('grown', (TRAINED, ), lambda: adapt('grown', '--grow', '--budget', WHOLE)))
    return {job.name: job for job in jobs}


def _of_the_end(task: Task, run: Path, checkpoint: str) -> Iterator[Job]:
    """The steps that say whether the model is trained to the end: with the first seed alone, they take long."""
    work, path = run / FOLDER, run / FOLDER / f'{DOUBLED}.py'

    def command() -> list[str]:
        write_doubled(task, checkpoint, path)
        return ['mim', 'train', task.package, str(path), '--work-dir', str(work / DOUBLED), *resumed(work / DOUBLED),
                'randomness.seed=0']

    def validated(config: Path, training: Path, name: str) -> list[str]:
        return [*_THIS, 'measure', str(config), str(last_checkpoint(training)), str(work / name), '--split', 'val']

    yield Job(DOUBLED, (), command)
    yield Job(VALIDATED[0], (TRAINED, ), lambda: validated(task.trained, run / 'trained', VALIDATED[0]))
    yield Job(VALIDATED[1], (DOUBLED, ), lambda: validated(path, work / DOUBLED, VALIDATED[1]))


def _of_rival(task: Task, rival: Rival, seed: int, run: Path, checkpoint: str) -> Iterator[Job]:
    work, folder = run / FOLDER, run / FOLDER / rival.name
    before = dict(random_fitted='adapted', adapted='adapted', grown='grown', found=f'search_{rival.budget}',
                  found_fitted=f'fitted_search_{rival.budget}').get(rival.model, TRAINED)
    child, config = f'{rival.name}/child', str(folder / 'child_config.py')
    if rival.model in ('found', 'found_fitted'):
        yield _search(task, rival, seed, work, checkpoint, before)
    # A search needs no trained model; its child does.
    yield Job(child, tuple(dict.fromkeys((TRAINED, before))), lambda: [
        *_THIS, 'make', task.name, rival.model, rival.budget, str(run), '--seed', str(seed), '--size', task.size])
    yield Job(f'{rival.name}/raw', (child, ), lambda: [
        *_THIS, 'measure', config, str(folder / 'child.pth'), str(folder / 'raw'), '--split', 'test'])
    yield Job(f'{rival.name}/tuned', (child, ), lambda: [
        'mim', 'train', task.package, config, '--work-dir', str(folder / 'tuned'), *resumed(folder / 'tuned'),
        f'randomness.seed={seed}'])
    yield Job(f'{rival.name}/tested', (f'{rival.name}/tuned', ), lambda: [
        *_THIS, 'measure', config, str(last_checkpoint(folder / 'tuned')), str(folder / 'tested')])


def _search(task: Task, rival: Rival, seed: int, work: Path, checkpoint: str, name: str) -> Job:
    """The search of a rival; its config is written when it starts."""
    path = work / f'{name}.py'
    prepared = str(work / 'adapted/prepared_search.pth') if rival.model == 'found_fitted' else None

    def command() -> list[str]:
        write_search(search_config(task, float(rival.budget), seed, checkpoint, prepared), path)
        options = resumed(work / name)
        return ['mim', 'train', task.package, str(path), '--work-dir', str(work / name), *options,
                f'randomness.seed={seed}']

    return Job(name, ('prepared', ) if prepared else (), command)
