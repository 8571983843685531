import pytest
import torch

from fna_mm.hooks import rank_agreement
from fna_mm.hooks.rank_agreement import check_ranks_agree, digest


def state(value=1., step=3):
    return dict(state={0: dict(exp_avg=torch.tensor([value, 2.]), step=step)},
                param_groups=[dict(lr=.1, betas=(.5, .9))])


def test_digest_sees_every_bit():
    assert digest(state()) == digest(state())
    assert digest(state()) != digest(state(1 + 2**-22))
    assert digest(state()) != digest(state(step=4))
    assert digest(torch.zeros(2)) != digest(torch.zeros(2, dtype=torch.float64))
    assert digest(torch.zeros(2)) != digest(torch.zeros(2, 1))
    assert digest(torch.tensor(float('nan'))) == digest(torch.tensor(float('nan')))


def test_digest_does_not_depend_on_the_order_of_keys():
    assert digest(dict(a=1, b=2)) == digest(dict(b=2, a=1)) != digest(dict(a=2, b=1))


def test_one_process_agrees_with_itself():
    check_ranks_agree(state(), 'x')


@pytest.mark.parametrize(('digests', 'named'), [('abab', '1, 3'), ('aaab', '3'), ('bbab', '2')])
def test_the_ranks_that_differ_are_named(monkeypatch, digests, named):
    monkeypatch.setattr(rank_agreement, 'all_gather_object', lambda own: list(digests))
    with pytest.raises(RuntimeError, match=f'the states of rank {named} differ from those of the other'):
        check_ranks_agree(state(), 'the states')
