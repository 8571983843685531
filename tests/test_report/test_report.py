import base64
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from synthetic_runs import FOUND, SIZE, mm_run, search_dir, state, train_line, training_dir
from toy_search import search_config, train

from fna_mm import Architecture
from fna_mm.configs import package_of
from fna_mm.cost.complexity import count_config
from fna_mm.report import make_report, write_report
from fna_mm.report.answers import cast_roles, is_it_better, role, what_did_it_cost, what_do_i_run_now
from fna_mm.report.run import counted, find_runs, read_run

XLINK = '{http://www.w3.org/1999/xlink}href'


class Page(HTMLParser):
    """Everything that a browser might load, and all text."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.text, self.tags, self.cells = [], '', [], []
        self._inside = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._inside.append(tag)
        self.loaded += [value for name, value in attributes if name in (
            'src', 'href', 'srcset', 'action', 'data', 'poster', 'background', 'style', 'xlink:href')]

    def handle_data(self, data):
        if self._inside[-1:] != ['style']:
            self.text += data
        else:
            assert 'url(' not in data
            assert '@import' not in data
        if self._inside[-1:] == ['td']:
            self.cells.append(data)

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass


def svgs(page):
    return [base64.b64decode(re.fullmatch(r'data:image/svg\+xml;base64,(\S+)', uri)[1]) for uri in page.loaded]


def assert_complete(out, names):
    page = Page((out / 'index.html').read_text())
    assert not {'script', 'link', 'iframe', 'object'} & set(page.tags)
    pictures = svgs(page)  # nothing is loaded that is not a data URI
    for name in names:
        svg = (out / f'{name}.svg').read_bytes()
        assert svg in pictures
        assert (out / f'{name}.png').read_bytes().startswith(b'\x89PNG')
    assert sorted(path.name for path in out.iterdir() if path.suffix in ('.svg', '.png')) == \
        sorted(f'{name}.{kind}' for name in names for kind in ('svg', 'png'))
    for svg in pictures:
        for element in ElementTree.fromstring(svg).iter():
            assert re.match('#|data:|$', element.get(XLINK, ''))
            assert 'http' not in (element.text or '')
    return page


@pytest.fixture(scope='module', autouse=True)
def _counted_once():
    """The few models of these tests are counted once each: building them is most of the time."""
    known = {}

    def counted_before(cfg, shape):
        key = repr(cfg.get('model')), shape
        if key not in known:
            known[key] = count_config(cfg, shape)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('fna_mm.report.run.count_config', counted_before)
        yield


SEARCH_FIGURES = ['architecture', 'madds', 'losses', 'entropy', 'candidates', 'probabilities', 'time']


@pytest.mark.parametrize('layers', [1, 21])
def test_a_search_alone(tmp_path, layers):
    out = tmp_path / 'out'
    assert make_report([str(search_dir(tmp_path / 'found', layers))], str(out)) == str(out / 'index.html')
    page = assert_complete(out, SEARCH_FIGURES)
    assert 'Not known yet.' in page.text
    assert '3.0 minutes: 0.05 CPU hours.' in page.text
    command = f'mim train {package_of("mmseg")} {tmp_path}/found/child_config.py\n'
    assert command in page.text.replace('Train', '\nTrain')


@pytest.mark.slow
def test_several_searches_and_trainings(tmp_path):
    search_dir(tmp_path / 'one', 2, architecture=FOUND)
    search_dir(tmp_path / 'two', 3)
    training_dir(tmp_path / 'child', 'fna_retinanet', 30.)
    training_dir(tmp_path / 'seed <b>&amp;', 'mobilenet_v2', 29.)
    training_dir(tmp_path / 'other', 'fna_ssdlite', 10., tested=False)
    out = tmp_path / 'out'
    make_report([str(tmp_path)], str(out))
    page = assert_complete(out, [f'{search}_{name}' for search in ('one', 'two') for name in SEARCH_FIGURES[:-1]]
                           + ['time'])
    assert 'Yes: more accurate and cheaper.' in page.text
    rows = [page.cells[index:index + 8] for index in range(0, 40, 8)]
    assert [row[:4] for row in rows] == [
        ['child', 'child of two, remapped', '30', '31'], ['seed <b>&amp;', 'MobileNetV2, remapped', '29', '30'],
        ['other', 'training', '–', '11'], ['one', 'search', '–', '–'], ['two', 'search', '–', '–']]
    assert 'mIoU, test' in page.text
    assert 'mIoU, validation' in page.text
    assert 'b' not in page.tags
    assert [row[6] for row in rows] == ['2.0', '2.0', '2.0', '3.0', '3.0']


def test_params_and_madds_are_those_of_the_whole_model(tmp_path):
    run = read_run(str(training_dir(tmp_path / 'child', 'fna_retinanet', 30.)))
    assert counted(run).complexity == count_config(run.config, (32, 32))[0]


@pytest.mark.parametrize(('config', 'why'), [
    ("model = dict(type='ToyClassifier', backbone=dict(type='FNAChildNet', arch='mobilenet_v2'))", 'no input_shape'),
    ("input_shape = (32, 32)\nmodel = dict(type='Nothing', backbone=dict(type='FNAChildNet', arch='mobilenet_v2'))",
     'KeyError: .*Nothing'),
    ('model = dict(', 'no config')])
def test_a_model_that_cannot_be_counted_costs_only_its_figures(tmp_path, config, why):
    mm_run(tmp_path / 'child', '20260101_120000', [train_line(10)], config)
    run = counted(read_run(str(tmp_path / 'child')))
    assert run.complexity is None
    assert re.search(why, run.uncounted)


def test_the_searchs_size_counts_where_a_training_names_none(tmp_path):
    search_dir(tmp_path / 'search', 1)
    training_dir(tmp_path / 'child', 'fna_retinanet', 30.)
    for path in (tmp_path / 'child').glob('**/*.py'):
        path.write_text(path.read_text().replace('input_shape = (32, 32)', ''))
    (search, child) = find_runs([str(tmp_path)])
    make_report([str(tmp_path)], str(tmp_path / 'out'))
    gmadds = count_config(child.config, SIZE)[0].madds / 1e9
    assert f'{gmadds:.4g}' in Page((tmp_path / 'out/index.html').read_text()).cells
    assert search.searched


# The answers


def runs(tmp_path, child=None, baseline=None, architecture='fna_retinanet', **search):
    search_dir(tmp_path / 'search', architecture=architecture, **search)
    for name, arch, miou in (('child', architecture, child), ('baseline', 'mobilenet_v2', baseline)):
        if miou is not None:
            training_dir(tmp_path / name, arch, miou)
    found = find_runs([str(tmp_path)])
    return [run if run.searched else counted(run) for run in found]


CHEAP, DEAR = 'fna_retinanet', 'fna_ssdlite'  # at the size of training_dir, against MobileNetV2


@pytest.mark.parametrize(('arch', 'child', 'baseline', 'headline', 'text'), [
    (CHEAP, None, None, 'Not known yet.', 'The search is finished, its child is not trained.'),
    (CHEAP, 30., None, 'Nothing to compare with.', 'mIoU 30 on the test split; MobileNetV2, fine-tuned alike, is miss'),
    (CHEAP, 30., 29., 'Yes: more accurate and cheaper.', 'mIoU 30 on the test split, against 29 for MobileNetV2, at '),
    (CHEAP, 29., 30., 'Not in accuracy; it is cheaper.', r'\(−\d+%\)\. One run each'),
    (CHEAP, 30., 30., 'As accurate, and cheaper.', r'\(−\d+%\)'),
    (DEAR, 30., 29., 'More accurate, but dearer.', r'\(\+\d+%\)'),
    (DEAR, 29., 30., 'No.', r'mIoU 29 on the test split, against 30'),
    (DEAR, 30., 30., 'No: as accurate, and no cheaper.', r'\(\+\d+%\)')])
def test_is_it_better(tmp_path, arch, child, baseline, headline, text):
    answer = is_it_better(cast_roles(runs(tmp_path, child, baseline, arch)))
    assert answer.headline == headline
    assert re.search(text, answer.text)


@pytest.mark.parametrize(('child', 'baseline', 'headline', 'low', 'high'), [
    ((32., 33., 34.), (29., 30., 31.), 'Yes: more accurate and cheaper.', .733, 5.267),
    ((29., 30., 35.), (29., 30., 31.), 'The seeds do not tell; it is cheaper.', -5.864, 8.53),
    ((29., 30.), (39., 41.), 'Not in accuracy; it is cheaper.', -17.42, -3.581),
    ((30., 30.), (30., 30.), 'The seeds do not tell; it is cheaper.', 0, 0)])
def test_several_seeds_have_an_interval(tmp_path, child, baseline, headline, low, high):
    """Welch's, computed by hand from Student's distribution."""
    search_dir(tmp_path / 'search', architecture=CHEAP)
    for name, arch, values in (('child', CHEAP, child), ('baseline', 'mobilenet_v2', baseline)):
        for seed, miou in enumerate(values):
            training_dir(tmp_path / f'{name}_{seed}', arch, miou)
    answer = is_it_better(cast_roles([run if run.searched else counted(run) for run in find_runs([str(tmp_path)])]))
    found = re.search(r'(\d) runs of the child and (\d) of MobileNetV2: a difference of (\S+), 95 % interval (\S+) to '
                      r'(\S+)\.', answer.text.replace('−', '-'))
    difference = sum(child) / len(child) - sum(baseline) / len(baseline)
    assert [float(text) for text in found.groups()] == pytest.approx(
        [len(child), len(baseline), difference, low, high], rel=1e-3)
    assert answer.headline == headline


def test_the_page_leads_with_the_front(tmp_path):
    search_dir(tmp_path / 'search')
    adapted = tmp_path / 'adapted'
    (adapted / 'report').mkdir(parents=True)
    (adapted / 'front.json').write_text('{}')
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    (adapted / 'report/front.svg').write_bytes(svg)
    make_report([str(tmp_path)], str(tmp_path / 'out'))
    page = Page((tmp_path / 'out/index.html').read_text())
    assert svgs(page)[0] == svg  # as a picture, in which no script runs
    assert 'script' not in page.tags
    assert 'Adaptation: adapted' in page.text
    assert 'source' not in page.tags[:page.tags.index('table')]
    (adapted / 'report/front_narrow.svg').write_bytes(svg)
    make_report([str(tmp_path)], str(tmp_path / 'out'))
    page = Page((tmp_path / 'out/index.html').read_text())
    assert svgs(page)[:2] == [svg, svg]
    (adapted / 'report/front.svg').unlink()
    (adapted / 'report/front_narrow.svg').unlink()
    make_report([str(tmp_path)], str(tmp_path / 'out'))
    assert 'Adaptation' not in Page((tmp_path / 'out/index.html').read_text()).text.replace('Neural Network Adapt', '')


@pytest.mark.parametrize(('front', 'headline', 'text'), [
    (dict(trained=dict(metrics={'mIoU': 40.}), children=[dict(share=.5, metrics={'mIoU': 40.5}),
                                                         dict(share=.35, metrics={'mIoU': 38.})]),
     "As good at 50% of the backbone's cost.", '40.5 at 50%, 38 at 35% of the backbone'),
    (dict(trained=dict(metrics={'mIoU': 40.}), children=[dict(share=.5, metrics={'mIoU': 39.})]),
     'Cheaper, and less accurate.', 'the trained model has 40.'),
    (dict(trained=dict(metrics={}), children=[dict(share=.5, metrics={})]), 'Not known yet.', 'is not trained'),
    ([1], 'Not known yet.', 'is not trained'), (dict(trained=3), 'Not known yet.', 'is not trained')])
def test_the_first_answer_is_that_of_the_front(tmp_path, front, headline, text):
    search_dir(tmp_path / 'search')
    (tmp_path / 'adapted/report').mkdir(parents=True)
    (tmp_path / 'adapted/front.json').write_text(json.dumps(front))
    (tmp_path / 'adapted/report/front.svg').write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    make_report([str(tmp_path)], str(tmp_path / 'out'))
    page = Page((tmp_path / 'out/index.html').read_text())
    assert headline in page.text
    assert text in page.text


def test_children_of_an_adaptation_are_no_searches(tmp_path):
    search_dir(tmp_path / 'search')
    (tmp_path / 'adapted/budget_0.5').mkdir(parents=True)
    (tmp_path / 'adapted/front.json').write_text('{}')
    (tmp_path / 'adapted/budget_0.5/arch.json').write_text(Architecture.create('fna_ssdlite').to_json())
    assert [run.name for run in find_runs([str(tmp_path)])] == ['search']
    training_dir(tmp_path / 'adapted/budget_0.5/fine_tuning', 'fna_ssdlite', 20., remapped=False)
    assert [run.name for run in find_runs([str(tmp_path)])] == ['search', 'fine_tuning']


def test_a_child_with_the_weights_of_its_search(tmp_path):
    search_dir(tmp_path / 'search')
    training_dir(tmp_path / 'child', 'fna_retinanet', 20., remapped=False, more="load_from = 'child.pth'")
    found = find_runs([str(tmp_path)])
    assert cast_roles(found).child.name == 'child'
    assert role(found[1], found) == 'child, from a checkpoint'


@pytest.mark.parametrize(('probabilities', 'share'), [
    ([.5, .5], '100%'), ([.6, .4], '97%'), ([.9, .1], ''), ([1., 0.], ''), ([1.], '')])
def test_a_search_that_has_not_decided_says_so(probabilities, share):
    given = state(3, probabilities={'layer2.0': {f'k{index}': p for index, p in enumerate(probabilities)}})
    assert bool(given.undecided) == bool(share)
    if share:
        assert f'has not decided: its distributions have {share} of the largest entropy' in given.undecided


def test_another_metric_and_the_validation_split(tmp_path):
    cast = cast_roles(runs(tmp_path, 30., 29.))
    assert 'aAcc 80 on the test split, against 80' in is_it_better(cast, 'aAcc').text
    training_dir(tmp_path / 'more/baseline', 'mobilenet_v2', 29., tested=False)
    cast = cast_roles(find_runs([str(tmp_path / 'search'), str(tmp_path / 'child'), str(tmp_path / 'more')]))
    assert 'mIoU 31 on the validation split, against 30' in is_it_better(cast).text  # of both, where one has no test


def test_random_starts_are_no_answer(tmp_path):
    search_dir(tmp_path / 'search')
    training_dir(tmp_path / 'child_random', 'fna_retinanet', 20., remapped=False)
    training_dir(tmp_path / 'seed', 'mobilenet_v2', 20., remapped=False)
    found = find_runs([str(tmp_path)])
    cast = cast_roles(found)
    assert (cast.child, cast.baseline) == (None, None)
    assert {run.name: role(run, found) for run in found} == dict(
        search='search', child_random='child, random start', seed='MobileNetV2, random start')


def test_what_did_it_cost(tmp_path):
    answer = what_did_it_cost(cast_roles(runs(tmp_path, 30.)))
    assert answer.headline == '5.0 minutes: 0.0833 CPU hours.'
    assert answer.text == '3.0 minutes of search and 2.0 of fine-tuning, on 1 process without a GPU.'


def test_gpu_hours_are_those_of_all_processes(tmp_path):
    answer = what_did_it_cost(cast_roles(runs(tmp_path, processes=8, device='NVIDIA X')))
    assert answer.headline == '3.0 minutes: 0.4 GPU hours.'
    assert answer.text == '3.0 minutes of search; the child is not trained yet, on 8 processes.'


def commands(cast):
    return [command for _, command in what_do_i_run_now(cast).commands]


def test_what_do_i_run_now(tmp_path):
    where = str(tmp_path)
    (tmp_path / 'search').mkdir()
    (tmp_path / 'search/config.py').write_text('')
    found = runs(tmp_path, steps=(10, 20))
    assert commands(cast_roles(found)) == [
        f'mim train {package_of("mmseg")} {where}/search/config.py --work-dir {where}/search --resume',
        f'mim train {package_of("mmseg")} {where}/search/child_config.py']


def test_what_do_i_run_after_the_search(tmp_path):
    where = str(tmp_path)
    assert commands(cast_roles(runs(tmp_path))) == [
        f'mim train {package_of("mmseg")} {where}/search/child_config.py',
        f'mim train {package_of("mmseg")} {where}/search/child_config.py --work-dir {where}/search/mobilenet_v2 '
        '--cfg-options model.backbone.arch=mobilenet_v2']


def test_what_do_i_run_at_the_end(tmp_path):
    where = str(tmp_path)
    assert commands(cast_roles(runs(tmp_path, 30., 29.))) == [
        f'mim test {package_of("mmengine")} {where}/child/child.py --checkpoint {where}/child/epoch_1.pth',
        f'fna compare --model MobileNetV2 {where}/baseline/baseline.py {where}/baseline/epoch_1.pth '
        f'--model child {where}/child/child.py {where}/child/epoch_1.pth']


def test_a_moved_folder_has_its_checkpoint_where_it_is(tmp_path):
    training_dir(tmp_path / 'before', 'mobilenet_v2', 30.)
    assert read_run(str(tmp_path / 'before')).checkpoint == str(tmp_path / 'before/epoch_1.pth')
    (tmp_path / 'before/epoch_1.pth').write_text('')
    (tmp_path / 'before').rename(tmp_path / 'after')
    assert read_run(str(tmp_path / 'after')).checkpoint == str(tmp_path / 'after/epoch_1.pth')


# What is read


def test_a_child_in_its_searchs_folder_is_found(tmp_path):
    search_dir(tmp_path / 'search')
    training_dir(tmp_path / 'search/child', 'fna_retinanet', 30.)
    assert [run.name for run in find_runs([str(tmp_path / 'search')])] == ['search', 'child']
    # Named twice, it is still one.
    assert [run.name for run in find_runs([str(tmp_path / 'search/child'), str(tmp_path / 'search')])] == \
        ['search', 'child']


def test_equal_names_are_told_apart(tmp_path):
    for seed in ('seed_0', 'seed_1'):
        search_dir(tmp_path / seed / 'search')
    assert [run.name for run in find_runs([str(tmp_path)])] == ['seed_0/search', 'seed_1/search']


@pytest.mark.parametrize(('prepare', 'error', 'message'), [
    (lambda folder: None, FileNotFoundError, "'{}' is no folder"),
    (lambda folder: folder.mkdir(), ValueError,
     r"'{}' holds no search and no training: neither it nor its subfolders have fna_report/history\.jsonl, arch"),
    (lambda folder: training_dir(folder, 'mobilenet_v2', 1.), ValueError,
     r"no search in '{}': looked for …/fna_report/history\.jsonl, an arch\.json, or a config with FNASuperNet"),
])
def test_no_search(tmp_path, prepare, error, message):
    prepare(tmp_path / 'runs')
    with pytest.raises(error, match=message.format(tmp_path / 'runs')):
        make_report([str(tmp_path / 'runs')])
    assert not (tmp_path / 'runs/fna_report').exists()


def test_a_metric_that_nobody_has(tmp_path):
    runs(tmp_path, 30.)
    with pytest.raises(ValueError, match=r"no run has the metric 'mAP'; there are \['aAcc', 'mIoU'\]"):
        make_report([str(tmp_path)], metric='mAP')


def test_a_search_without_exports(tmp_path):
    """The report of a search without ``ArchitectureExportHook`` has what mm logged of it."""
    train(search_config(tmp_path, epochs=2))
    run = read_run(str(tmp_path))
    assert run.searched
    assert not run.history
    assert run.architecture is None
    make_report([str(tmp_path)])
    assert_complete(tmp_path / 'fna_report', ['madds', 'losses', 'entropy', 'time'])


def test_an_architecture_alone(tmp_path):
    (tmp_path / 'arch.json').write_text(Architecture.create('fna_ssdlite').to_json())
    path, figures = write_report([read_run(str(tmp_path))], str(tmp_path / 'out'))
    assert [figure.name for figure in figures] == ['architecture']
    assert 'Not logged.' in Page((tmp_path / 'out/index.html').read_text()).text
    assert path == str(tmp_path / 'out/index.html')


def test_one_export_has_no_curves_over_time(tmp_path):
    search_dir(tmp_path / 'search', 1, steps=(10, ))
    _, figures = write_report(find_runs([str(tmp_path)]), str(tmp_path / 'out'))
    assert [figure.name for figure in figures] == [name for name in SEARCH_FIGURES if name != 'candidates']


def test_a_state_needs_no_gmadds(tmp_path):
    search_dir(tmp_path / 'search', 1, gmadds=None)
    write_report(find_runs([str(tmp_path)]), str(tmp_path / 'out'))
    assert_complete(tmp_path / 'out', SEARCH_FIGURES)
