"""What the rows of a task say of the targets, in sentences."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from tools.evidence.evidence_figure import NAMES
from tools.evidence.evidence_rows import LEADER
from tools.evidence.trained_to_the_end import LEAST_CHANGE
from tools.results.result_rows import ResultRow, mean_of
from tools.results.result_tables import equal_layers, percent

#: Budget → by how many points fna adapt may be behind MobileNetV2; rivals, and by how much it is to be ahead of each.
_BEHIND = {'0.5': .3, '0.3': 1.}
_AHEAD: Mapping[str, tuple[tuple[str, ...], Optional[float]]] = {
    '0.5': (('narrowed', 'pruned_norm', 'pruned_taylor', 'random'), None),
    '0.3': (('narrowed', 'pruned_norm', 'pruned_taylor'), 2.)}
#: Searches are to agree on so many times more of their layers than random architectures of their cost.
_TIMES = 2
_AT_WHOLE = ('grown', 'found', 'found_fitted')
#: Share of the training's minutes that an adaptation may take.
_MOST_TIME = .3


def is_ahead(lead: Mapping[str, Any], by: Optional[float] = None) -> bool:
    """Whether a lead is one: by an interval above zero, or by so many points.

    Args:
        lead (Mapping): Its ``difference`` and ``interval``.
        by (float, optional): The points. Defaults to None: the interval decides.
    """
    if by is not None:
        return bool(lead['difference'] >= by)
    return bool(lead['interval'] and lead['interval'][0] > 0)


def in_brackets(interval: Optional[Sequence[float]]) -> str:
    """An interval as it stands behind a difference; '' for none.

    Args:
        interval (Sequence[float], optional): Its ends.
    """
    return f' [{interval[0]:+.1f}, {interval[1]:+.1f}]' if interval else ''


def _named(models: Iterable[str]) -> str:
    return ', '.join(NAMES[model] for model in models)


def _at_budget(row: ResultRow) -> str:
    """One sentence about fna adapt at a budget below the whole."""
    budget, least = row['budget'], _BEHIND[row['budget']]
    rivals, by = _AHEAD[budget]
    known = [model for model in rivals if model in row['ahead_of']]
    ahead = [model for model in known if is_ahead(row['ahead_of'][model], by)]
    others = [model for model in known if model not in ahead]
    how = 'by an interval above zero' if by is None else f'by {by:g} points'
    held = 'holds' if row['difference'] >= -least else 'is missed'
    parts = [f'ahead {how} of {_named(ahead)}'] if ahead else []
    parts += [f'not ahead {how} of {_named(others)}'] if others else []
    parts += [f'not compared with {_named(missing)} yet'] if (
        missing := [model for model in rivals if model not in known]) else []
    return (f'At {float(budget):.0%}, {NAMES[LEADER]} is {row["difference"]:+.1f} points from MobileNetV2: the target, '
            f'{-least:g} or better, {held}. It is {"; ".join(parts)}.')


def _of_the_end(trained: float, longer: float) -> str:
    verdict = 'was trained to the end' if longer - trained < LEAST_CHANGE else 'was not trained to the end'
    return (f'The trained model has {trained:.1f} on the validation split, twice the training {longer:.1f}: it '
            f'{verdict}, which means by less than {LEAST_CHANGE:g} point.')


def _of_searches(row: ResultRow, chance: ResultRow) -> str:
    """One sentence about searches that start from fitted candidates, beside random architectures of their budget."""
    lead, equal, by_chance = row['ahead_of']['random'], equal_layers(row), equal_layers(chance)
    agree = equal is not None and by_chance is not None and equal >= _TIMES * by_chance
    held = 'holds' if agree and is_ahead(lead) else 'is missed'
    return (f'At {float(row["budget"]):.0%}, {len(row["seeds"])} searches from fitted candidates have {percent(equal)} '
            f'of their layers in common, random architectures {percent(by_chance)}; their children are '
            f'{lead["difference"]:+.1f} points{in_brackets(lead["interval"])} from random ones. The target, {_TIMES} '
            f'times as many layers and an interval above zero, {held}.')


def verdicts(rows: Sequence[ResultRow]) -> list[str]:
    """Sentences about the targets, as far as there are rows.

    Args:
        rows (Sequence[dict]): The rows of a task.
    """
    found = {(row['model'], row['budget']): row for row in rows}
    sentences = [_of_the_end(*row['validation_of_longer_training']) for row in rows
                 if 'validation_of_longer_training' in row]
    sentences += [_at_budget(found[LEADER, budget]) for budget in _BEHIND
                 if (LEADER, budget) in found and found[LEADER, budget]['difference'] is not None]
    sentences += [_of_searches(row, found['random', row['budget']]) for row in rows
                  if row['model'] == 'found_fitted' and 'random' in row.get('ahead_of', {})]
    whole = [found[model, '1'] for model in _AT_WHOLE if (model, '1') in found]
    if whole:
        ahead = [row['model'] for row in whole if is_ahead(row)]
        others = [row['model'] for row in whole if row['model'] not in ahead]
        parts = [f'ahead of MobileNetV2 by an interval above zero: {_named(ahead) or "none"}']
        parts += [f'not: {_named(others)}'] if others else []
        sentences.append(f'At 100 %, {"; ".join(parts)}.')
    leaders = [run for row in rows if row['model'] == LEADER for run in row['runs']]
    shares = [run['minutes_of']['made'] / run['minutes_of']['trained'] for run in leaders
              if run['minutes_of']['trained']]
    if shares:
        mean = mean_of(shares, 3) or 0.
        sentences.append(f"{NAMES[LEADER]} took {mean:.0%} of the training's CPU minutes for all budgets together; the "
                         f'target, at most {_MOST_TIME:.0%}, {"holds" if mean <= _MOST_TIME else "is missed"}.')
    return sentences
