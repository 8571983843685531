"""The report's answers to three questions: Is it better? What did it cost? What do I run now?"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Optional

from scipy.stats import ttest_ind

from fna_mm.architecture import Architecture
from fna_mm.report.run import Run


@dataclass(frozen=True)
class Cast:
    """The runs of a report by their roles.

    Args:
        search (Run): The search.
        children (tuple[Run, ...]): The trainings of the architecture that the search found, with any seeds.
        baselines (tuple[Run, ...]): The same of the seed's architecture.
    """

    search: Run
    children: tuple[Run, ...]
    baselines: tuple[Run, ...]

    @property
    def child(self) -> Optional[Run]:
        """The first training of the child."""
        return next(iter(self.children), None)

    @property
    def baseline(self) -> Optional[Run]:
        """The first training of the seed's architecture."""
        return next(iter(self.baselines), None)


@dataclass(frozen=True)
class Answer:
    """The answer to one of the three questions.

    Args:
        headline (str): The answer in a few words.
        text (str): The answer in one or two sentences. Defaults to ''.
        commands (Sequence[tuple[str, str]]): Pairs of a purpose and a command. Defaults to ().
    """

    headline: str
    text: str = ''
    commands: Sequence[tuple[str, str]] = ()


def _seed(search: Run) -> Architecture:
    return search.history[-1].seed if search.history else Architecture.create('mobilenet_v2')


def seed_name(search: Run) -> str:
    """The name of a search's seed."""
    return 'MobileNetV2' if _seed(search) == Architecture.create('mobilenet_v2') else 'the seed'


def cast_roles(runs: Sequence[Run]) -> Cast:
    """Find a search, and by their architectures its child and its baseline.

    Args:
        runs (Sequence[Run]): The runs, among them at least one search. The first search that has a child
            is taken, or the first search if none has.
    """
    searches = [run for run in runs if run.searched]
    started = [run for run in runs if not run.searched and (run.remapped or run.loaded)
               and run.architecture is not None]

    def trained(architecture: Optional[Architecture]) -> tuple[Run, ...]:
        return tuple(run for run in started if run.architecture == architecture)

    search = next((run for run in searches if trained(run.architecture)), searches[0])
    return Cast(search, trained(search.architecture), trained(_seed(search)))


def role(run: Run, runs: Sequence[Run]) -> str:
    """Describe the role of a run in a few words.

    Args:
        run (Run): One run of the report.
        runs (Sequence[Run]): All runs of the report.
    """
    if run.searched:
        return 'search'
    searches = [search for search in runs if search.searched]
    start = 'remapped' if run.remapped else 'from a checkpoint' if run.loaded else 'random start'
    for search in searches:
        if run.architecture is not None and run.architecture in (search.architecture, _seed(search)):
            found = 'child' if len(searches) == 1 else f'child of {search.name}'
            return f'{found if run.architecture == search.architecture else seed_name(search)}, {start}'
    return 'training'


def _change(new: float, old: float) -> str:
    return f'{new / old - 1:+.0%}'.replace('-', '−')


def _undecided(search: Run) -> str:
    """What is said of a search that has not decided; else an empty text."""
    return search.history[-1].undecided if search.history else ''


def is_it_better(cast: Cast, metric: Optional[str] = None) -> Answer:
    """Compare the child with the seed, both remapped and fine-tuned.

    Args:
        cast (Cast): The runs by their roles.
        metric (str, optional): Metric that is compared; higher is better. Defaults to None: the usual one of the task.
    """
    answer = _comparison(cast, metric)
    undecided = _undecided(cast.search)
    return replace(answer, text=f'{answer.text} {undecided}') if undecided else answer


def _comparison(cast: Cast, metric: Optional[str]) -> Answer:
    child, baseline, seed = cast.child, cast.baseline, seed_name(cast.search)
    ours = child.scores(metric) if child is not None else None
    if child is None or ours is None:
        made, total = cast.search.progress
        state = 'The search is finished' if cast.search.finished else \
            f'The search is at {made} of {total}' if total else 'The search is not finished'
        return Answer('Not known yet.', f'{state}, its child is not {"trained" if child is None else "tested"}.')
    name, value, split = ours
    theirs = baseline.scores(name) if baseline is not None else None
    if theirs is not None and theirs[2] != split:
        value, split = child.validation.get(name, value), 'validation'
        theirs = (name, baseline.validation[name], split) if baseline and name in baseline.validation else None
    label = name.rpartition('/')[2]
    if baseline is None or theirs is None:
        return Answer('Nothing to compare with.', f'The child has {label} {value:.4g} on the {split} split; '
                      f'{seed}, fine-tuned alike, is missing.')
    gain = value - theirs[1]
    text = f'{label} {value:.4g} on the {split} split, against {theirs[1]:.4g} for {seed}'
    costs = (child.complexity, baseline.complexity)
    dearer = 0
    if costs[0] is not None and costs[1] is not None:
        dearer = costs[0].madds - costs[1].madds
        text += (f', at {costs[0].madds / 1e9:.4g} instead of {costs[1].madds / 1e9:.4g} G multiply-adds '
                 f'({_change(costs[0].madds, costs[1].madds)})')
    if gain > 0:
        headline = 'More accurate, but dearer.' if dearer > 0 else \
            'Yes: more accurate and cheaper.' if dearer < 0 else 'Yes: more accurate.'
    elif gain < 0:
        headline = 'Not in accuracy; it is cheaper.' if dearer < 0 else 'No.'
    else:
        headline = 'As accurate, and cheaper.' if dearer < 0 else 'No: as accurate, and no cheaper.'
    several = _of_seeds(cast, name, split)
    if several is None:
        return Answer(headline, f'{text}. One run each: another seed moves such figures.')
    low, high, said = several
    if low <= 0 <= high:
        headline = 'The seeds do not tell; it is cheaper.' if dearer < 0 else 'The seeds do not tell.'
    return Answer(headline, f'{text} in the first runs. {said}')


def _of_seeds(cast: Cast, metric: str, split: str) -> Optional[tuple[float, float, str]]:
    """The 95 % interval of the difference of the means of several seeds (Welch's), and what is said of it."""
    ours, theirs = ([scores[0][1] for run in runs if (scores := run.score_on(split, metric))]
                    for runs in (cast.children, cast.baselines))
    if min(len(ours), len(theirs)) < 2:
        return None
    found = ttest_ind(ours, theirs, equal_var=False).confidence_interval(.95)
    low, high = (0., 0.) if math.isnan(found.low) else (float(found.low), float(found.high))
    difference = fmean(ours) - fmean(theirs)
    return low, high, (f'{len(ours)} runs of the child and {len(theirs)} of {seed_name(cast.search)}: a difference of '
                       f'{difference:+.4g}, 95 % interval {low:+.4g} to {high:+.4g}.'.replace('-', '−'))


def hours(runs: Sequence[Run]) -> str:
    """The hours of all processes of several runs, with their unit."""
    devices = {run.device for run in runs if run.total_seconds}
    unit = f'{devices.pop()} hours' if len(devices) == 1 and '' not in devices else 'device hours'
    return f'{sum(run.device_hours for run in runs):.3g} {unit}'


def what_did_it_cost(cast: Cast) -> Answer:
    """Add up the costs of the search and of the child's fine-tuning, as the paper's tables 2 and 4 do.

    Args:
        cast (Cast): The runs by their roles.
    """
    runs = [run for run in (cast.search, cast.child) if run is not None]
    if not any(run.total_seconds for run in runs):
        return Answer('Not logged.', 'The work directories hold no times.')
    minutes = [run.total_seconds / 60 for run in runs]
    text = f'{minutes[0]:.1f} minutes of search' + (
        f' and {minutes[1]:.1f} of fine-tuning' if cast.child is not None else '; the child is not trained yet')
    processes = {run.processes for run in runs}
    text += f', on {" and ".join(map(str, sorted(processes)))} process{"" if processes == {1} else "es"}'
    if {run.device for run in runs} == {'CPU'}:
        text += ' without a GPU'
    return Answer(f'{sum(minutes):.1f} minutes: {hours(runs)}.', text + '.')


def _config_file(run: Run) -> Optional[str]:
    """The config that mm saved in a work directory."""
    files = [path for path in Path(run.path).glob('*.py') if path.name != 'child_config.py']
    return str(max(files, key=lambda path: path.stat().st_mtime)) if files else None


def what_do_i_run_now(cast: Cast) -> Answer:
    """Propose the next commands; those for unfinished runs come first.

    Args:
        cast (Cast): The runs by their roles.
    """
    search, child, baseline = cast.search, cast.child, cast.baseline
    commands: list[tuple[str, list[str]]] = []
    exported, own = str(Path(search.path) / 'child_config.py'), _config_file(search)
    if not search.finished and own is not None:
        commands.append(('Where the search has stopped, go on with it', [
            'mim', 'train', search.package, own, '--work-dir', search.path, '--resume']))
    has_child = Path(exported).is_file()
    if child is None and has_child:
        commands.append(('Train the most probable architecture, although the search has not decided'
                         if _undecided(search) else
                         'Train what was found' if search.finished else 'Train what is the best so far',
                         ['mim', 'train', search.package, exported]))
    if child is not None:
        config, seed = _config_file(child) or exported, _config_file(baseline) if baseline is not None else None
        if not child.finished:
            commands.append(('Go on with the child', ['mim', 'train', child.package, config, '--work-dir', child.path,
                                                      '--resume']))
        elif child.checkpoint:
            commands.append(('Test the child', ['mim', 'test', child.package, config, '--checkpoint',
                                                child.checkpoint]))
            if baseline is not None and baseline.checkpoint and seed is not None:
                commands.append(('See both on images', [
                    'fna', 'compare', '--model', seed_name(search), seed, baseline.checkpoint,
                    '--model', 'child', config, child.checkpoint]))
    if baseline is None and has_child and search.finished:
        commands.append((f'Train {seed_name(search)} alike, to compare with', [
            'mim', 'train', search.package, exported, '--work-dir', str(Path(search.path) / 'mobilenet_v2'),
            '--cfg-options', 'model.backbone.arch=mobilenet_v2']))
    done = child is not None and child.finished and baseline is not None
    headline = 'All is trained; look closer.' if done else 'Go on.'
    return Answer(headline if commands else 'There is nothing to go on with here.', commands=tuple(
        (what, shlex.join(words)) for what, words in commands))
