"""Drawing the figures of a report."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from matplotlib.figure import Figure

from fna_mm.report.architecture_figures import architecture_figure
from fna_mm.report.canvas import to_image, to_svg
from fna_mm.report.mm_logs import is_training
from fna_mm.report.run import Run
from fna_mm.report.search_figures import (
    candidates_figure,
    cost_figure,
    entropy_figure,
    loss_figure,
    probability_figure,
)
from fna_mm.report.time_figures import time_figure

_ENTROPY = 'arch_entropy/'
_EXPECTED = 'expected_'


@dataclass(frozen=True)
class Drawn:
    """A figure of a report.

    Args:
        name (str): Name of the figure's files, without a suffix.
        caption (str): Text below the figure.
        image (np.ndarray): The figure as an image, (height, width, 3) uint8.
        svg (bytes): The figure as SVG.
        narrow_svg (bytes, optional): Another layout for narrow pages. Defaults to None: narrow pages show ``svg``.
    """

    name: str
    caption: str
    image: np.ndarray
    svg: bytes
    narrow_svg: Optional[bytes] = None


def _draw(name: str, caption: str, draw: Callable[[bool], Figure]) -> Drawn:
    wide = draw(False)
    return Drawn(name, caption, to_image(wide), to_svg(wide), to_svg(draw(True)))


def _draw_small(name: str, caption: str, figure: Figure) -> Drawn:
    return Drawn(name, caption, to_image(figure), to_svg(figure))


def _curve(run: Run, name: str) -> tuple[list[float], list[float]]:
    points = [(line['step'], line[name]) for line in run.scalars if is_training(line) and name in line]
    return [step for step, _ in points], [value for _, value in points]


def _units_of_tables(run: Run) -> list[str]:
    """Units in which a search logged costs, besides multiply-adds."""
    names = dict.fromkeys(name for line in run.scalars if is_training(line) for name in line)
    return [name.removeprefix(_EXPECTED) for name in names if name.startswith(_EXPECTED) and name != 'expected_gmadds']


def _entropies(run: Run) -> dict[str, tuple[list[float], list[float]]]:
    """Layer → iterations and entropies in nats, from the log, or from the exports if the log has none."""
    logged: list[tuple[float, dict[str, Any]]] = [
        (line['step'], {name[len(_ENTROPY):]: value for name, value in line.items() if name.startswith(_ENTROPY)})
        for line in run.scalars if any(name.startswith(_ENTROPY) for name in line)]
    logged = logged or [(state.step, state.entropies) for state in run.history if state.probabilities]
    layers = list(logged[-1][1]) if logged else []
    known = [(step, values) for step, values in logged if list(values) == layers]
    return {layer: ([step for step, _ in known], [values[layer] for _, values in known]) for layer in layers}


def draw_search(run: Run, prefix: str = '') -> list[Drawn]:
    """Draw all figures of a search for which there are data.

    Args:
        run (Run): The search.
        prefix (str): Start of the figures' names. Defaults to ''.
    """
    figures: list[Drawn] = []
    states = [state for state in run.history if state.probabilities]
    if run.history:
        last = run.history[-1]
        figures.append(_draw(
            f'{prefix}architecture', 'The best path below the seed. The height of a block is its kernel size (k), its '
            'width the expansion ratio (e). Layers that differ from the seed have a heavy frame, left-out layers a '
            'dashed one.',
            lambda narrow: architecture_figure(last.architecture, last.seed, f'Best path after {last.moment}', narrow)))
    expected, best = _curve(run, 'expected_gmadds'), _curve(run, 'best_path_gmadds')
    counted = [state for state in run.history if state.gmadds is not None]
    if not expected[0]:
        steps = [float(state.step) for state in counted]
        expected = steps, [state.gmadds.expected for state in counted if state.gmadds]
        best = steps, [state.gmadds.best_path for state in counted if state.gmadds]
    if expected[0]:
        seed = counted[-1].gmadds.seed if counted and counted[-1].gmadds else None
        figures.append(_draw_small(f'{prefix}madds', 'Multiply-adds: expected over all paths, of the most probable '
                                   'path, and of the seed.', cost_figure(expected, best, seed)))
    for unit in _units_of_tables(run):
        figures.append(_draw_small(
            f'{prefix}cost_{unit}', f'What the search\'s table says in {unit}: expected over all paths, and of the '
            'most probable path.', cost_figure(_curve(run, f'expected_{unit}'), _curve(run, f'best_path_{unit}'),
                                          title='Cost of the backbone', unit=unit)))
    losses = {label: curve for label, curve in (('weight steps', _curve(run, 'loss')),
                                                ('architecture steps', _curve(run, 'arch_loss'))) if curve[0]}
    if losses:
        figures.append(_draw_small(f'{prefix}losses', 'Weight steps train one sampled path, architecture steps the '
                                   'mixture of all.', loss_figure(losses)))
    entropies = _entropies(run)
    if entropies:
        figures.append(_draw_small(f'{prefix}entropy', 'The entropy of each layer’s probabilities; 0 is decided.',
                                   entropy_figure(entropies)))
    if len(states) > 1:
        figures.append(_draw(
            f'{prefix}candidates', 'The probability of every candidate of every layer over time; above each panel the '
            'most probable one now.',
            lambda narrow: candidates_figure([state.step for state in states],
                                             [state.probabilities for state in states],
                                             'Probability of each candidate over time', narrow,
                                             states[-1].seed.family)))
    if states:
        figures.append(_draw(
            f'{prefix}probabilities', 'The probabilities now; the most probable candidate of each layer is framed.',
            lambda narrow: probability_figure(
                states[-1].probabilities, f'Probability of each candidate after {states[-1].moment}', narrow)))
    return figures


def draw_times(runs: Sequence[Run]) -> list[Drawn]:
    """Draw the time accounts of all runs; the list is empty if no run has times."""
    accounts = {run.name: run.seconds for run in runs if run.total_seconds}
    return [_draw('time', 'Minutes of each run, by their use.', lambda narrow: time_figure(accounts, narrow=narrow))
            ] if accounts else []


def file_prefix(run: Run) -> str:
    """The start of the names of a search's figures in a report of several searches."""
    return re.sub(r'[^\w.-]+', '_', run.name) + '_'
