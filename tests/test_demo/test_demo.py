"""The demo on a few of its photographs, and what it says at the end."""

import json
import re
import shutil

import cv2
import pytest

from fna_mm.cli import main
from fna_mm.demo import flow
from fna_mm.demo.flow import CELLS, Shown, answer, run_demo, table_of


def shown(name, share, points, milliseconds, minutes=None):
    return Shown(name, share, {'coco/bbox_mAP': points / 100, 'coco/bbox_mAP_50': points / 50}, milliseconds, minutes)


def test_what_comes_with_the_package_is_whole():
    for part, number in (('train', 100), ('test', 72)):
        truth = json.loads((CELLS / f'{part}.json').read_text())
        assert len(truth['images']) == number
        assert all((CELLS / 'images' / image['file_name']).is_file() for image in truth['images'])
        assert {box['image_id'] for box in truth['annotations']} <= {image['id'] for image in truth['images']}
    train, test = ({image['file_name'] for image in json.loads((CELLS / f'{part}.json').read_text())['images']}
                   for part in ('train', 'test'))
    assert not train & test
    assert train | test == {path.name for path in (CELLS / 'images').iterdir()}


def test_the_table():
    rows = [shown('trained detector', 1., 42.1, 80.), shown('adapted to 35%', .349, 41.04, 60.5, 2.25)]
    lines = table_of(rows).splitlines()
    assert [line.split()[-5:] for line in lines[-2:]] == [
        ['100%', '42.1', '84.2', '80.0', '-'], ['35%', '41.0', '82.1', '60.5', '2.2']]


@pytest.mark.parametrize(('points', 'said'), [
    (41.04, '1.1 points of mAP less than the trained detector'), (42.12, "the trained detector's mAP"),
    (43., '0.9 points of mAP more than the trained detector')])
def test_the_answer_says_who_is_ahead(points, said):
    text = answer(shown('trained', 1., 42.1, 80.), shown('adapted to 35%', .35, points, 60., 1.))
    assert text == f'adapted to 35%: {said}, in 75% of its time.'


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / 'mine.txt').write_text('x')
    with pytest.raises(FileExistsError, match='is not empty and holds no earlier demo: give another --work-dir'):
        run_demo(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ['mine.txt']


@pytest.mark.slow
def test_the_demo_runs(tmp_path, monkeypatch, capfd):
    few = tmp_path / 'cells'
    (few / 'images').mkdir(parents=True)
    for part, number in (('train', 24), ('test', 6)):
        truth = json.loads((CELLS / f'{part}.json').read_text())
        truth['images'] = truth['images'][:number]
        known = {image['id'] for image in truth['images']}
        truth['annotations'] = [box for box in truth['annotations'] if box['image_id'] in known]
        (few / f'{part}.json').write_text(json.dumps(truth))
        for image in truth['images']:
            shutil.copy(CELLS / 'images' / image['file_name'], few / 'images')
    shutil.copy(CELLS / 'retinanet.pth', few)
    monkeypatch.setattr(flow, 'CELLS', few)
    monkeypatch.setattr(flow, '_SCORE_IMAGES', 4)
    for name in ('FNA_DEMO_CELLS', 'FNA_DEMO_FOUND'):
        monkeypatch.setenv(name, 'is set by the demo')
    root = tmp_path / 'demo'
    main(['demo', '--work-dir', str(root)], standalone_mode=False)
    printed = capfd.readouterr().out
    table = (root / 'table.txt').read_text()
    assert table in printed
    names = [line.split('  ')[0] for line in table.splitlines()[3:]]
    assert names == ['trained detector', 'adapted to 50%', 'adapted to 35%', 'adapted to 35%, fine-tuned',
                     'gradient search, fine-tuned']
    trained, half = (float(line.split()[-4]) for line in table.splitlines()[3:5])
    assert trained > 30  # six images, of which some are hard
    assert half > trained - 10
    assert re.search(r'^adapted to 50%: .* in \d+% of its time\.\nadapted to 35%, fine-tuned: ', printed, re.MULTILINE)
    for name in ('detections.png', 'adapted/report/front.png'):
        image = cv2.imread(str(root / name))
        assert image.std() > 10
    for name in ('adapted/report/index.html', 'search/fna_report/index.html', 'search/child_config.py',
                 'adapted/budget_0.35/child.onnx'):
        assert (root / name).is_file(), name
