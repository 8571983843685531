"""model-index.yml and the metafiles: valid for mim, and equal to what configs and results say."""

import json
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from fna_mm.cost.complexity import count_config

modelindex = pytest.importorskip('modelindex')
pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
ROOT = Path(__file__).resolve().parents[1]
METAFILES = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
MODELS = [model for path in METAFILES for model in yaml.safe_load((ROOT / path).read_text())['Models']]
#: mmdet's metafiles and its evaluator have names of their own for the same thing.
METRICS = {'box AP': ('coco/bbox_mAP', 100), 'box AP50': ('coco/bbox_mAP_50', 100), 'mIoU': ('mIoU', 1)}


def test_the_index_is_valid_and_complete(monkeypatch):
    monkeypatch.chdir(ROOT)
    index = modelindex.load('model-index.yml')
    index.build_models_with_collections()
    assert list(index.check(silent=True) or []) == []
    names = [model.name for model in index.models]
    assert sorted(names) == sorted(model['Name'] for model in MODELS)
    assert len(names) == len(set(names)) == 14
    collections = {collection.name for collection in index.collections}
    assert {model.in_collection for model in index.models} == collections
    assert {str(path.relative_to(ROOT)) for path in (ROOT / 'configs').rglob('metafile.yml')} == set(METAFILES)


def by_name(model):
    return model['Name']


@pytest.mark.parametrize('model', MODELS, ids=by_name)
@pytest.mark.slow
def test_costs_are_those_of_the_config(model):
    cfg = Config.fromfile(ROOT / model['Config'])
    metadata = model['Metadata']
    if 'Architecture File' in metadata:
        cfg.model.backbone.arch = str(ROOT / metadata['Architecture File'])
    complexity, _ = count_config(cfg, cfg.input_shape)
    assert metadata['Input Size'] == '{}x{}'.format(*cfg.input_shape)
    assert metadata['Parameters'] == complexity.params
    assert metadata['MAdds (G)'] == round(complexity.madds / 1e9, 4)


@pytest.mark.parametrize('model', [model for model in MODELS if model['Metadata']['Results From'].endswith('.json')],
                         ids=by_name)
def test_our_results_are_those_of_the_run(model):
    rows = json.loads((ROOT / model['Metadata']['Results From']).read_text())
    (row, ) = [row for row in rows if row.get('name') == model['Name']]
    (run, ) = row['runs']
    assert (model['Metadata']['Parameters'], model['Metadata']['MAdds (G)']) == (run['params'], row['madds_g'])
    (result, ) = model['Results']
    for name, value in result['Metrics'].items():
        key, factor = METRICS[name]
        assert value == round(run['metrics'][key] * factor, 1), name


def test_others_results_are_said_to_be_the_papers():
    papers = [model['Name'] for model in MODELS if model['Metadata']['Results From'].startswith('the paper, table')]
    ours = [model['Name'] for model in MODELS if model['Metadata']['Results From'].startswith('docs/results/')]
    assert len(papers) == 8
    assert sorted(papers + ours) == sorted(model['Name'] for model in MODELS)


def test_the_project_page_says_the_same():
    page = (ROOT / 'docs/mmdet_project.md').read_text()
    detectors = [model for model in MODELS if model['Name'] in ('mobilenet_v2_retinanet', 'fna_retinanet_retrain',
                                                                'mobilenet_v2_ssdlite', 'fna_ssdlite_retrain')]
    rows = [line.strip('| ').split(' | ')[1:] for line in page.splitlines() if line.endswith('.py) |')]
    assert rows == [[f'{model["Metadata"]["Parameters"] / 1e6:.2f}', f'{model["Metadata"]["MAdds (G)"]:.2f}',
                     f'{model["Results"][0]["Metrics"]["box AP"]}', f'[config](../{model["Config"]})']
                    for model in detectors]
