"""The history of a search: its state at every export, as lines of JSON that are appended to one file."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from fna_mm.architecture import Architecture
from fna_mm.checks import check_integer, check_number, shown
from fna_mm.cost.madds import CostTable
from fna_mm.search_space import SearchSpace, candidate_name

#: Folder of history and report in the work directory.
FOLDER = 'fna_report'
HISTORY = 'history.jsonl'

#: Layer name → candidate name → probability.
Probabilities = Mapping[str, Mapping[str, float]]


#: Share of the largest entropy, the layers' mean, above which a search has not decided.
UNDECIDED = .9


#: More iterations than a search makes, and more letters than a name has.
_MOST, _MOST_LETTERS = 10**12, 200


def named_probabilities(space: SearchSpace, values: Any) -> dict[str, dict[str, float]]:
    """Give probabilities the names of their layers and candidates.

    Args:
        space (SearchSpace): The search space.
        values (Sequence[Sequence[float]]): Probabilities of the candidates of every layer.
    """
    return {layer.name: {candidate_name(spec): round(float(p), 6) for spec, p in zip(layer.candidates, of_layer)}
            for layer, of_layer in zip(space.layers, values)}


@dataclass(frozen=True)
class Gmadds:
    """Multiply-adds of the backbone in G.

    Args:
        expected (float): Expected multiply-adds of a path that is drawn from the probabilities.
        best_path (float): Multiply-adds of the path of the most probable candidates.
        seed (float): Multiply-adds of the seed.
    """

    expected: float
    best_path: float
    seed: float

    @classmethod
    def of(cls, table: CostTable, space: SearchSpace, probabilities: Probabilities, seed: float) -> 'Gmadds':
        """Compute the multiply-adds from a table of costs.

        Args:
            table (CostTable): The cost of every candidate.
            space (SearchSpace): The search space.
            probabilities (Mapping): Layer name → candidate name → probability.
            seed (float): GMAdds of the seed.
        """
        values = [list(of_layer.values()) for of_layer in probabilities.values()]
        expected = table.fixed + sum(p * cost for of_layer, costs in zip(values, table.layers)
                                     for p, cost in zip(of_layer, costs))
        best = table.of_path([of_layer.index(max(of_layer)) for of_layer in values])
        return cls(round(expected, 6), round(best, 6), round(seed, 6))


@dataclass(frozen=True)
class SearchState:
    """The state of a search after some iterations.

    Args:
        step (int): Number of iterations so far.
        max_steps (int): Number of iterations of the whole search.
        moment (str): Name of the moment, such as ``'epoch 3'``.
        architecture (Architecture): Architecture of the best path.
        seed (Architecture): Architecture of the seed, from which the search space was made.
        probabilities (Mapping): Layer name → candidate name → probability.
        gmadds (Gmadds, optional): Multiply-adds of the backbone. Defaults to None: the input size is not known.
        seconds (Mapping[str, float], optional): Wall-clock time so far, by the names of ``TimeAccount``.
            Defaults to None: not measured.
        processes (int): Number of processes of the training. Defaults to 1.
        device (str): Name of the GPU of each process, or ``'CPU'``. Defaults to ''.
    """

    step: int
    max_steps: int
    moment: str
    architecture: Architecture
    seed: Architecture
    probabilities: Probabilities
    gmadds: Optional[Gmadds] = None
    seconds: Optional[Mapping[str, float]] = None
    processes: int = 1
    device: str = ''

    @property
    def entropies(self) -> dict[str, float]:
        """The entropy of every layer's distribution over its candidates, in nats."""
        return {layer: -sum(p * math.log(p) for p in of_layer.values() if p > 0)
                for layer, of_layer in self.probabilities.items()}

    @property
    def undecided(self) -> str:
        """A sentence if the distributions are nearly uniform, so that the best path is chance; else an empty text."""
        shares = [entropy / math.log(len(of_layer)) for entropy, of_layer in zip(
            self.entropies.values(), self.probabilities.values()) if len(of_layer) > 1]
        share = sum(shares) / len(shares) if shares else 0.
        if share <= UNDECIDED:
            return ''
        return (f'The search has not decided: its distributions have {share:.0%} of the largest entropy, and the best '
                'path is little more than chance. More architecture steps, or a higher rate of the architecture\'s '
                'optimizer, decide.')

    def to_json(self) -> str:
        """The state as one line of JSON."""
        values = dict(vars(self), architecture=self.architecture.to_text().replace('\n', ' '),
                      seed=self.seed.to_text().replace('\n', ' '), gmadds=self.gmadds and vars(self.gmadds))
        return json.dumps(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'SearchState':
        """Build a state from the parsed line of :meth:`to_json`.

        Raises:
            KeyError | TypeError | ValueError: If the values are not those of a state.
        """
        gmadds, seconds = values['gmadds'], values.get('seconds')
        for name in ('step', 'max_steps'):
            check_integer(name, values[name], least=0, most=_MOST)
        check_integer('processes', values.get('processes', 1), most=_MOST)
        for name in (values['moment'], values.get('device', '')):
            _check_name(name)
        for layer, of_layer in values['probabilities'].items():
            _check_name(layer)
            for candidate, probability in of_layer.items():
                _check_name(candidate)
                check_number(f'the probability of {candidate}', probability, least=0)
        for name, value in {**(gmadds or {}), **(seconds or {})}.items():
            _check_name(name)
            check_number(name, value, least=0)
        return cls(**dict(values, architecture=Architecture.parse(values['architecture']),
                          seed=Architecture.parse(values['seed']), gmadds=gmadds and Gmadds(**gmadds)))


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or len(name) > _MOST_LETTERS:
        raise ValueError(f'{shown(name)} is no name')


def _names(state: SearchState) -> dict[str, list[str]]:
    return {layer: list(of_layer) for layer, of_layer in state.probabilities.items()}


def history_path(work_dir: str) -> str:
    """The path of a search's history."""
    return os.path.join(work_dir, FOLDER, HISTORY)


def _append(work_dir: str, line: str) -> None:
    path = history_path(work_dir)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'a+b') as file:
        # A killed process may have left an unfinished line; this line must not become a part of it.
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b'\n' else '\n' + line
        file.write(line.encode() + b'\n')


def start_history(work_dir: str, step: int) -> None:
    """Note that a run starts or resumes at ``step``, so that states of later steps in earlier lines are ignored."""
    _append(work_dir, json.dumps(dict(start=step)))


def append_history(work_dir: str, state: SearchState) -> None:
    """Append a state of the search.

    Args:
        work_dir (str): Work directory of the search, a local folder.
        state (SearchState): The state. It replaces an earlier state of the same step.
    """
    _append(work_dir, state.to_json())


def read_history(work_dir: str, problems: Optional[list[str]] = None) -> list[SearchState]:
    """Read all states of a search by rising step. Lines that are no states, such as unfinished ones, are skipped.

    Args:
        work_dir (str): Work directory of the search.
        problems (list[str], optional): Gets a sentence for every line that was skipped. Defaults to None.

    Returns:
        list: The states; empty if there is no history.
    """
    states: list[SearchState] = []
    try:
        with open(history_path(work_dir), encoding='utf-8', errors='replace') as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return states
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            if 'start' in values:
                start = check_integer('start', values['start'], least=0, most=_MOST)
                states = [state for state in states if state.step <= start]
                continue
            new = SearchState.from_dict(values)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            if problems is not None:
                problems.append(f'line {number} of {HISTORY} is no state of a search ({type(error).__name__}: '
                                f'{str(error)[:_MOST_LETTERS]})')
            continue
        states = [state for state in states if state.step < new.step] + [new]
    alike = [state for state in states if _names(state) == _names(states[-1])]
    if problems is not None and len(alike) < len(states):
        problems.append(f'{len(states) - len(alike)} states in {HISTORY} are of another search space than the last one')
    return alike
