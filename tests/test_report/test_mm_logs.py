import pytest
from synthetic_runs import LOG, mm_run, train_line

from fna_mm.report.mm_logs import account, is_evaluation, is_training, metrics_of, read_log, read_scalars, read_tests


def steps(folder):
    return [line['step'] for line in read_scalars(folder) if is_training(line)]


def test_resumed_runs_are_joined_and_the_later_one_wins(tmp_path):
    mm_run(tmp_path, '20260101_100000', [train_line(10), train_line(20), dict(mIoU=1., time=.1, data_time=.1, step=1),
                                         train_line(30, loss=9.), train_line(40, loss=9.)])
    mm_run(tmp_path, '20260102_100000', [train_line(30, loss=1.), dict(mIoU=2., time=.1, data_time=.1, step=2)])
    assert steps(tmp_path) == [10, 20, 30]
    assert [line['loss'] for line in read_scalars(tmp_path) if is_training(line)][-1] == 1.
    assert [metrics_of(line) for line in read_scalars(tmp_path) if is_evaluation(line)] == [dict(mIoU=1), dict(mIoU=2)]
    mm_run(tmp_path, '20260103_100000', [dict(mIoU=3., time=.1, data_time=.1, step=0)])  # a test: it trains nothing
    assert steps(tmp_path) == [10, 20, 30]
    mm_run(tmp_path, '20260104_100000', [train_line(10)])  # from the start again
    assert steps(tmp_path) == [10]


def test_half_lines_and_other_things(tmp_path):
    folder = mm_run(tmp_path, '20260101_100000', [train_line(10)])
    path = folder / '20260101_100000/vis_data/scalars.json'
    path.write_text(path.read_text() + '[]\n{"loss": 1.0, "it')
    (tmp_path / '20260102_100000').mkdir()
    (tmp_path / 'other').mkdir()
    assert steps(tmp_path) == [10]
    (lines, ) = [read_scalars(tmp_path)]
    assert len(lines) == 1


def test_tests(tmp_path):
    mm_run(tmp_path, '20260101_100000', tests=dict(mIoU=30.5, time=.2, data_time=.1, classes=['a']))
    mm_run(tmp_path, '20260102_100000')
    mm_run(tmp_path, '20260103_100000', tests=dict(mIoU=31))
    assert read_tests(tmp_path) == [dict(mIoU=30.5), dict(mIoU=31.)]


def test_the_text_of_the_log(tmp_path):
    mm_run(tmp_path, '20260101_100000', log=LOG.format(day='2026/01/01', cuda=True, processes=8))
    mm_run(tmp_path, '20260102_100000', log=LOG.format(day='2026/01/02', cuda=True, processes=8))
    mm_run(tmp_path, '20260103_100000', log='')
    log = read_log(tmp_path)
    # Up to the checkpoint, twice; not to the test an hour later. Four iterations of evaluation, twice.
    assert (log.seconds, log.evaluation, log.processes, log.device) == (240, 2, 8, 'GPU')


def test_no_log(tmp_path):
    mm_run(tmp_path, '20260101_100000', [train_line(10)])
    log = read_log(tmp_path)
    assert (log.seconds, log.processes, log.device) == (0, 1, '')
    assert account(read_scalars(tmp_path), log) == pytest.approx(
        {'weight steps': 4, 'architecture steps': 0, 'data': 1, 'evaluation': 0, 'other': 0})


def test_the_account_of_a_search_that_kept_none(tmp_path):
    arch = dict(arch_loss=1., weight_step_time=.15, arch_step_time=.25)
    mm_run(tmp_path, '20260101_100000', [train_line(10, weight_step_time=.4), train_line(30, **arch)],
           log=LOG.format(day='2026/01/01', cuda=False, processes=1))
    # 10 iterations of .5 s, .1 of them data; 20 of .5 s: .1 data, .15 weights, .25 architecture.
    assert account(read_scalars(tmp_path), read_log(tmp_path)) == pytest.approx(
        {'weight steps': 4 + 3, 'architecture steps': 5, 'data': 3, 'evaluation': 1, 'other': 120 - 16})
