"""From the files of tested rivals to rows, tables, sentences and figures; the page in docs/results."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest

from fna_mm import Architecture
from tools.evidence.evidence_figure import NAMES, evidence_figure
from tools.evidence.evidence_page import content_of, figure_name, figures_of, page_of, write_evidence
from tools.evidence.evidence_rows import making_minutes, replaced, rows_of
from tools.evidence.intervals import DRAWS, paired
from tools.evidence.protocol import MODELS, Rival
from tools.evidence.verdicts import is_ahead, verdicts
from tools.evidence.work_queue import MINUTES
from tools.results.adapted_runs import TIMES
from tools.results.collect import insert

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / 'docs/results'
METRIC = 'coco/bbox_mAP'
#: Model and budget → mAP with seeds 0 and 1; the draws of images vary by half a point around it.
TESTED = {
    ('mobilenet_v2', '1'): (41., 42.), ('narrowed', '0.5'): (38., 40.), ('pruned_norm', '0.5'): (40.9, 41.6),
    ('random', '0.5'): (33., 35.), ('adapted', '0.7'): (41., 42.5), ('adapted', '0.5'): (40.8, 42.),
    ('grown', '1'): (44., 44.)}


def write_rival(run, model, budget, value, architecture):
    """What the steps of a run leave of a rival."""
    rival = Rival(model, budget)
    folder = run / 'evidence' / rival.name
    for name in ('raw', 'tested'):
        (folder / name).mkdir(parents=True)
        metrics = {METRIC: round(value / 100, 3), f'{METRIC}_50': .7}
        split = dict(metrics=metrics, value=value - (name == 'raw'), images=72)
        (folder / name / 'measured.json').write_text(json.dumps(dict(val=dict(split, value=value + 1), test=split)))
    rng = np.random.default_rng(len(rival.name))
    np.save(folder / 'tested/resampled.npy', value + rng.uniform(-.5, .5, DRAWS))
    (folder / 'arch.json').write_text(architecture.to_json())
    (folder / 'costs.json').write_text(json.dumps(dict(params=2e6, madds=5e8 * float(budget),
                                                       share=.99 * float(budget))))
    path = run / MINUTES
    known = json.loads(path.read_text()) if path.exists() else {}
    shared = dict(adapted=dict(adapted=1.5), grown=dict(grown=3.)).get(model, {})
    path.write_text(json.dumps({**known, **shared, f'{rival.name}/child': .25, f'{rival.name}/raw': .1,
                                f'{rival.name}/tuned': 1., f'{rival.name}/tested': .1}))


@pytest.fixture
def work(tmp_path):
    for seed in (0, 1):
        run = tmp_path / f'work/bccd_retinanet/seed_{seed}'
        run.mkdir(parents=True)
        (run / TIMES).write_text(json.dumps(dict(trained=7.)))
        for (model, budget), values in TESTED.items():
            write_rival(run, model, budget, values[seed], Architecture.create('mobilenet_v2'))
    return tmp_path / 'work'


def test_rows_have_what_their_runs_measured(work):
    rows = {(row['model'], row['budget']): row for row in rows_of(work)}
    assert set(rows) == set(TESTED)
    row = rows['adapted', '0.5']
    assert (row['dataset'], row['framework'], row['table'], row['metric']) == ('BCCD', 'RetinaNet', 'evidence', METRIC)
    assert row['mean'] == statistics.mean(TESTED['adapted', '0.5'])
    assert row['by_seed'] == {'0': 40.8, '1': 42.}
    assert row['validation_mean'] == pytest.approx(42.4)
    assert row['difference'] == pytest.approx(-.1)
    assert row['interval_over'] == 'seeds and images'
    assert row['minutes'] == pytest.approx(2.8, abs=.06)  # its children, its own step, the fine-tuning
    assert row['runs'][0]['minutes_of'] == dict(trained=7., made=1.75, tuned=1.)
    assert row['runs'][0]['raw'] == 39.8
    assert row['runs'][0]['metrics'] == {METRIC: .408, f'{METRIC}_50': .7}
    assert row['madds_g'] == .25
    assert set(row['ahead_of']) == {'narrowed', 'pruned_norm', 'random'}
    assert row['ahead_of']['narrowed']['difference'] == pytest.approx(2.4)
    assert rows['mobilenet_v2', '1']['difference'] is None
    assert 'python -m tools.evidence run bccd_retinanet ' in row['command']


def test_the_interval_is_that_of_the_draws(work):
    row = next(row for row in rows_of(work) if row['model'] == 'grown')
    draws = {name: np.stack([np.load(work / f'bccd_retinanet/seed_{seed}/evidence/{name}/tested/resampled.npy')
                             for seed in (0, 1)]) for name in ('grown_1', 'mobilenet_v2_1')}
    wanted = paired(TESTED['grown', '1'], TESTED['mobilenet_v2', '1'], draws['grown_1'], draws['mobilenet_v2_1'])
    assert row['interval'] == pytest.approx(wanted.interval, abs=.006)
    assert row['interval'][0] > 0


def test_a_rival_that_is_not_tested_has_no_row(work):
    for seed in (0, 1):
        (work / f'bccd_retinanet/seed_{seed}/evidence/grown_1/tested/measured.json').unlink()
    (work / 'bccd_retinanet/seed_1/evidence/narrowed_0.5/tested/measured.json').unlink()
    rows = {row['model']: row for row in rows_of(work)}
    assert 'grown' not in rows
    assert rows['narrowed']['seeds'] == [0]
    assert rows['narrowed']['difference'] == -3.
    assert rows['narrowed']['interval_over'] == 'images'


def test_minutes_of_what_rivals_share():
    minutes = {'adapted': 2., 'prepared': 1., 'fitted_search_0.5': 5., 'found_fitted_0.5/child': .5}
    assert making_minutes(Rival('found_fitted', '0.5'), minutes) == 8.5
    assert making_minutes(Rival('random', '0.5'), {'random_0.5/child': .5}) == .5


def test_other_rows_stay():
    old = [dict(table='comparison', dataset='BCCD', framework='RetinaNet'),
           dict(table='evidence', size='small', dataset='BCCD', framework='RetinaNet', model='old'),
           dict(table='evidence', size='full', dataset='BCCD', framework='RetinaNet'),
           dict(table='evidence', size='small', dataset='CamVid', framework='DeepLabv3')]
    new = [dict(table='evidence', size='small', dataset='BCCD', framework='RetinaNet', model='new')]
    assert replaced(old, new, 'small') == [old[0], old[2], old[3], *new]
    assert replaced(old, [], 'small') == old


def test_the_page_says_what_the_rows_say(work):
    content = content_of(rows_of(work))
    assert '## BCCD, RetinaNet' in content
    assert '| fna adapt is ahead of |' in content
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in content.splitlines() if line.startswith('|')]
    assert ['MobileNetV2', '41.5 ± 0.7', '', '', ''] in cells
    first, second, raw = [row for row in cells if row[0] == 'narrowed evenly']
    assert first[1:3] == ['', '']
    assert first[3].startswith('39.0 ± 1.4 (-2.5 [')
    assert second[2].startswith('+2.4 [')
    assert cells[cells.index(raw) - 2] == ['not trained', '70%', '50%']
    assert raw == ['narrowed evenly', '', '38.0']
    assert 'At 50%, fna adapt is -0.1 points from MobileNetV2: the target, -0.3 or better, holds.' in content
    assert 'It is ahead by an interval above zero of narrowed evenly, random; ' in content
    assert 'not compared with pruned, Taylor yet' in content
    assert 'ahead of MobileNetV2 by an interval above zero: fna adapt --grow.' in content
    assert "fna adapt took 25% of the training's CPU minutes" in content


def test_missed_targets_are_said(work):
    rows = rows_of(work)
    for row in rows:
        if (row['model'], row['budget']) == ('adapted', '0.5'):
            row['difference'] = -.4
            for lead in row['ahead_of'].values():
                lead['interval'] = [-1., 1.]
        elif row['model'] == 'grown':
            row['interval'] = [0., 2.]
    said = ' '.join(verdicts(rows))
    assert 'the target, -0.3 or better, is missed' in said
    assert 'It is not ahead by an interval above zero of narrowed evenly' in said
    assert 'by an interval above zero: none; not: fna adapt --grow.' in said
    assert is_ahead(dict(difference=2., interval=None), 2.)
    assert not is_ahead(dict(difference=2., interval=None))


def architecture_of(*layers):
    """One stage of four layers behind the first, which is the same everywhere."""
    return Architecture.create(f"[[32, 16], ['k3_e1'], 1]| [[16, 24], {list(layers)}, 2]")


@pytest.mark.parametrize(('value', 'layer', 'held'), [(36., 'k3_e6', True), (36., None, False), (33.5, 'k3_e6', False)])
def test_searches_from_fitted_candidates(work, value, layer, held):
    """They are to agree twice as often as chance, and to be ahead of it."""
    for seed in (0, 1):
        run = work / f'bccd_retinanet/seed_{seed}'
        kernel = f'k{3 + 2 * seed}_e3'
        # By chance, one layer of four is equal.
        chance = architecture_of(kernel, 'k3_e6', kernel, kernel)
        write_rival(run, 'found_fitted', '0.5', value, architecture_of(*[layer] * 4) if layer else chance)
        (run / 'evidence/random_0.5/arch.json').write_text(chance.to_json())
        path = run / MINUTES
        path.write_text(json.dumps({**json.loads(path.read_text()), 'prepared': 1., 'fitted_search_0.5': 4.}))
    said = next(sentence for sentence in verdicts(rows_of(work)) if 'fitted candidates' in sentence)
    assert f'have {"25%" if layer is None else "100%"} of their layers in common, random architectures 25%' in said
    assert f'{value - 34:+.1f} points [' in said
    assert said.endswith('holds.' if held else 'is missed.')


@pytest.mark.parametrize(('longer', 'verdict'), [
    (43.5, 'was trained to the end'), (44.5, 'was not trained to the end')])
def test_whether_the_model_was_trained_to_the_end(work, longer, verdict):
    assert 'twice the training' not in content_of(rows_of(work))
    for name, value in (('trained_validated', 43.2), ('doubled_validated', longer)):
        folder = work / f'bccd_retinanet/seed_0/evidence/{name}'
        folder.mkdir()
        (folder / 'measured.json').write_text(json.dumps(dict(val=dict(value=value))))
    rows = rows_of(work)
    assert rows[0]['validation_of_longer_training'] == [43.2, longer]
    assert f'has 43.2 on the validation split, twice the training {longer}: it {verdict}' in content_of(rows)


def test_the_figure_draws_the_differences(work):
    rows = rows_of(work)
    axis = evidence_figure(rows, 'title', 'mAP').axes[0]
    drawn = {container.get_label(): container for container in axis.containers}
    assert set(drawn) == {NAMES[model] for model, _ in TESTED}
    values = drawn[NAMES['adapted']].lines[0].get_ydata().tolist()
    assert values == [row['difference'] for row in rows if row['model'] == 'adapted']


def test_everything_is_written(work, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    kept = dict(table='small data', name='by hand', dataset='BCCD', framework='RetinaNet', runs=[])
    (out / 'results.json').write_text(json.dumps([kept]))
    (out / 'evidence.md').write_text(
        'before\n<!-- made by collect.py: evidence -->\nas before\n<!-- end of evidence -->\n')
    write_evidence(work, out, 'small')
    rows = json.loads((out / 'results.json').read_text())
    assert rows[0] == kept
    assert rows[1:] == json.loads(json.dumps(rows_of(work)))
    page = (out / 'evidence.md').read_text()
    assert page.startswith('before')
    assert 'as before' not in page
    assert (out / 'evidence_bccd_retinanet.png').stat().st_size > 1000


ROWS = [row for row in json.loads((RESULTS / 'results.json').read_text()) if row['table'] == 'evidence']


def test_the_page_of_the_repository_is_made_from_its_rows():
    page = (RESULTS / 'evidence.md').read_text()
    assert page_of(page, ROWS) == page
    assert insert(page, 'evidence', content_of(ROWS)) == page
    for row in ROWS:
        assert (RESULTS / figure_name(row)).is_file()
    assert set(figures_of(ROWS)) == {path.name for path in RESULTS.glob('evidence_*.png')}


@pytest.mark.parametrize('row', ROWS, ids=lambda row: f'{row["framework"]} {row["model"]} {row["budget"]}')
def test_a_row_compares_what_it_has(row):
    assert row['budget'] in MODELS[row['model']]
    assert row['by_seed'] == {str(seed): value for seed, value in zip(row['seeds'], row['values'])}
    assert all(run['share'] <= 1.011 * float(row['budget']) for run in row['runs'] if row['model'] != 'grown')
    reference = next(other for other in ROWS if other['model'] == 'mobilenet_v2' and all(
        other[key] == row[key] for key in ('dataset', 'framework', 'size')))
    if row is reference:
        assert row['difference'] is None
        return
    shared = [seed for seed in row['by_seed'] if seed in reference['by_seed']]
    wanted = statistics.mean(row['by_seed'][seed] - reference['by_seed'][seed] for seed in shared)
    assert row['difference'] == pytest.approx(wanted, abs=.011)


def test_the_readmes_table_has_these_leads():
    leads = {(row['framework'], row['budget'], model): lead['difference'] for row in ROWS if row['model'] == 'adapted'
             for model, lead in row['ahead_of'].items()}
    readme = (ROOT / 'README.md').read_text()
    for model, name in (('narrowed', 'MobileNetV2 narrowed evenly'), ('pruned_norm', 'pruned by group norm'),
                        ('pruned_taylor', 'pruned by Taylor importance'), ('random', 'random architectures')):
        cells = [leads.get((framework, budget, model)) for framework in ('RetinaNet', 'SSDLite', 'DeepLabv3')
                 for budget in ('0.5', '0.3')]
        shown = (f' {cell:.1f} ' if cell is not None else ' ' for cell in cells)
        assert f'| {name} |{"|".join(shown)}|' in readme
