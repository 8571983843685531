"""The check of a table: random networks, predicted and measured."""

import json

import pytest
from click.testing import CliRunner
from toy_segmentation import draw_images, write_config

from fna_mm.latency.flow import measure_latency
from tools.results.latency_check import main

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
