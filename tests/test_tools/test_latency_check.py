"""The check of a table: random networks, predicted and measured."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from toy_segmentation import draw_images, write_config

from fna_mm.latency.flow import measure_latency
from tools.results.latency_check import main, rank_correlation

pytest.importorskip('mmseg')


def test_predicted_and_measured(tmp_path):
    draw_images(tmp_path, 2)
    config, table, out = str(write_config(tmp_path)), str(tmp_path / 'table.json'), tmp_path / 'check.json'
    measure_latency(config, table, 'torch', rounds=3)
    done = CliRunner().invoke(main, [config, table, '--children', '4', '--out', str(out)], catch_exceptions=False)
    assert done.output.startswith('4 random children on ')
    assert 'Spearman' in done.output
    result = json.loads(out.read_text())
    assert len(result['predicted']) == len(result['measured']) == len(result['madds']) == 4
    assert -1 <= result['spearman'] <= 1
    errors = [abs(one - two) / two for one, two in zip(result['predicted'], result['measured'])]
    assert result['mean_error'] == pytest.approx(sum(errors) / 4, abs=1e-2)


def test_times_that_cannot_be_told_apart_have_no_correlation():
    assert rank_correlation(np.zeros(4), np.arange(4)) == rank_correlation(np.arange(4), np.ones(4)) == 0
    assert rank_correlation(np.array([1, 2, 4]), np.array([3, 5, 9])) == 1
    assert rank_correlation(np.array([1, 2, 4]), np.array([9, 5, 3])) == -1
