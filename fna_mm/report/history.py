"""What a search thought at every export: one line of JSON each, only ever appended to one file."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from fna_mm.architecture import Architecture
from fna_mm.cost.madds import CostTable
from fna_mm.search_space import SearchSpace, candidate_name

#: Where, below the work directory, history and report are.
FOLDER = 'fna_report'
HISTORY = 'history.jsonl'

#: Layer name → candidate name → probability.
Probabilities = Mapping[str, Mapping[str, float]]


def named_probabilities(space: SearchSpace, values: Any) -> dict[str, dict[str, float]]:
    """Probabilities by the names of layers and candidates.

    Args:
        space (SearchSpace): The search space.
        values (Sequence[Sequence[float]]): For every layer, one per candidate.
    """
    return {layer.name: {candidate_name(spec): round(float(p), 6) for spec, p in zip(layer.candidates, of_layer)}
            for layer, of_layer in zip(space.layers, values)}


@dataclass(frozen=True)
class Gmadds:
    """Multiply-adds of the backbone, in G.

    Args:
        expected (float): Of a path drawn from the probabilities, on average.
        best_path (float): Of the most probable candidates.
        seed (float): Of the seed.
    """

    expected: float
    best_path: float
    seed: float

    @classmethod
    def of(cls, table: CostTable, space: SearchSpace, probabilities: Probabilities, seed: float) -> 'Gmadds':
        """From a table of costs.

        Args:
            table (CostTable): The cost of every candidate.
            space (SearchSpace): The search space.
            probabilities (Mapping): Layer name → candidate name → probability.
            seed (float): The seed's.
        """
        values = [list(of_layer.values()) for of_layer in probabilities.values()]
        expected = table.fixed + sum(p * cost for of_layer, costs in zip(values, table.layers)
                                     for p, cost in zip(of_layer, costs))
        best = table.of_path([of_layer.index(max(of_layer)) for of_layer in values])
        return cls(round(expected, 6), round(best, 6), round(seed, 6))


@dataclass(frozen=True)
class SearchState:
    """A search after some iterations.

    Args:
        step (int): Iterations made.
        max_steps (int): Iterations in all.
        moment (str): Such as ``'epoch 3'``.
        architecture (Architecture): The best path.
        seed (Architecture): What the search space was made from.
        probabilities (Mapping): Layer name → candidate name → probability.
        gmadds (Gmadds, optional): Defaults to None: the size of the input is not known.
        seconds (Mapping[str, float], optional): Wall-clock time up to now, by the names of ``TimeAccount``.
            Defaults to None: not measured.
        processes (int): Of the training. Defaults to 1.
        device (str): The name of each process's GPU, or ``'CPU'``. Defaults to ''.
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
        """Entropy of every layer's distribution over its candidates, nats."""
        return {layer: -sum(p * math.log(p) for p in of_layer.values() if p > 0)
                for layer, of_layer in self.probabilities.items()}

    def to_json(self) -> str:
        """One line."""
        values = dict(vars(self), architecture=self.architecture.to_text().replace('\n', ' '),
                      seed=self.seed.to_text().replace('\n', ' '), gmadds=self.gmadds and vars(self.gmadds))
        return json.dumps(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'SearchState':
        """The inverse of :meth:`to_json`, from what JSON makes of it.

        Raises:
            KeyError | TypeError | ValueError: If it is something else.
        """
        gmadds = values['gmadds']
        return cls(**dict(values, architecture=Architecture.parse(values['architecture']),
                          seed=Architecture.parse(values['seed']), gmadds=gmadds and Gmadds(**gmadds)))


def history_path(work_dir: str) -> str:
    """The path of a search's history."""
    return os.path.join(work_dir, FOLDER, HISTORY)


def _append(work_dir: str, line: str) -> None:
    path = history_path(work_dir)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'a+b') as file:
        # A line that a killed process left unfinished must not swallow this one.
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b'\n' else '\n' + line
        file.write(line.encode() + b'\n')


def start_history(work_dir: str, step: int) -> None:
    """A run starts, or resumes, at ``step``: what earlier ones wrote about later steps no longer counts."""
    _append(work_dir, json.dumps(dict(start=step)))


def append_history(work_dir: str, state: SearchState) -> None:
    """Write down a state of the search.

    Args:
        work_dir (str): The search's, a local folder.
        state (SearchState): The state; one of the same step that is there already is replaced by it.
    """
    _append(work_dir, state.to_json())


def read_history(work_dir: str) -> list[SearchState]:
    """All states of a search, by rising step; lines that are no states, such as half ones, are left out.

    Args:
        work_dir (str): The search's.

    Returns:
        list: Empty if there is no history.
    """
    states: list[SearchState] = []
    try:
        with open(history_path(work_dir), encoding='utf-8', errors='replace') as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return states
    for line in lines:
        try:
            values = json.loads(line)
            if 'start' in values:
                states = [state for state in states if state.step <= values['start']]
                continue
            new = SearchState.from_dict(values)
        except (KeyError, TypeError, ValueError, RecursionError):
            continue
        states = [state for state in states if state.step < new.step] + [new]
    return states
