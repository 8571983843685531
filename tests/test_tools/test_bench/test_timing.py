import time

import pytest

from tools.bench.timing import WARMUP_ROUNDS, interleaved, ratio, spread


def test_variants_take_turns():
    calls = []
    variants = {name: lambda number, name=name: calls.append((name, number)) for name in 'abc'}
    seconds = interleaved(variants, 2, 'cpu', 'test')
    assert calls == [(name, number) for number in [0] * WARMUP_ROUNDS + [0, 1] for name in 'abc']
    assert {name: len(values) for name, values in seconds.items()} == dict(a=2, b=2, c=2)


def test_seconds_are_seconds():
    (seconds, ) = interleaved(dict(nap=lambda number: time.sleep(.02)), 1, 'cpu', 'test')['nap']
    assert seconds >= .02


def test_ratios_are_taken_round_by_round():
    """A machine that becomes ten times slower in the second round changes no ratio."""
    assert ratio((2., 20., 2.), (1., 10., 1.)) == 2


@pytest.mark.parametrize(('seconds', 'expected'), [((3., ), (3., 3., 3.)), ((1., 2., 3., 4., 5.), (2., 3., 4.))])
def test_spread(seconds, expected):
    result = spread(seconds)
    assert (result['lower_quartile_s'], result['median_s'], result['upper_quartile_s']) == expected
    assert result['repeats'] == len(seconds)
