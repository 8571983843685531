import pytest

from fna_mm.report.time_account import ARCHITECTURE, DATA, EVALUATION, PARTS, WEIGHTS, TimeAccount


@pytest.fixture
def wait(monkeypatch):
    """``wait(seconds)`` on a clock that shows nothing else."""
    now = [100.]
    monkeypatch.setattr('fna_mm.report.time_account.time.perf_counter', lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_every_second_is_booked_once(wait):
    account = TimeAccount()
    wait(1)
    account.lap()
    wait(2)
    account.lap(DATA)
    wait(10)
    assert account.lap(WEIGHTS) == 10
    account.move(6, WEIGHTS, ARCHITECTURE)
    wait(5)
    account.lap(EVALUATION)
    wait(.5)  # booked by nobody yet
    assert account.seconds() == dict(zip(PARTS, (4, 6, 2, 5, 1.5)))


def test_a_resumed_search_goes_on_counting(wait):
    spent = dict(zip(PARTS, (4., 6., 2., 5., 1.5)))
    account = TimeAccount(spent)
    assert account.seconds() == spent
    wait(3)
    account.lap(DATA)
    wait(1)
    account.lap()
    assert account.seconds() == dict(zip(PARTS, (4, 6, 5, 5, 2.5)))
