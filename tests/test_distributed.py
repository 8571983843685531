"""Two real processes, gloo, DDP: what is common to the ranks, what differs, what is averaged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed_search import BATCH_CONFIGS, batch_config
from mmengine.registry import MODELS
from toy_search import CHILD, SUPERNET, ToyClassifier, build, changed, child_net_config, load, train

from fna_mm import MAddsCost
from fna_mm.cost import expected_cost, madds_table

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


def run_search(out, *arguments):
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(HERE), os.environ.get('PYTHONPATH', '')]),
                       OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    call = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2',
            str(HERE / 'distributed_search.py'), str(out), *arguments]
    return subprocess.run(call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=240)


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """What each of two ranks recorded in a search of three epochs, and the folder."""
    out = tmp_path_factory.mktemp('distributed')
    done = run_search(out)
    assert done.returncode == 0, done.stdout[-4000:]
    return [torch.load(out / f'rank_{rank}.pth') for rank in (0, 1)], out


def test_a_rank_that_leaves_the_others_stops_the_search(tmp_path):
    """Before a checkpoint is written of it; until the architecture steps begin, all is well."""
    done = run_search(tmp_path, 'strays')
    assert done.returncode != 0
    assert 'RuntimeError: the architecture parameters of rank 1 differ from those of the other 1 of 2' in done.stdout
    assert [path.name for path in (tmp_path / 'work').glob('*.pth')] == ['epoch_1.pth']


def test_ddp_as_mm_sets_it_up_is_refused_at_once(tmp_path):
    done = run_search(tmp_path, 'waits')
    assert done.returncode != 0
    assert ('ValueError: MMDistributedDataParallel waits for the gradients of all candidates, of which a step uses one '
            "a layer: set model_wrapper_cfg=dict(type='FNADistributedDataParallel')") in done.stdout
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_a_fine_tuning_is_held_near_its_teacher(tmp_path):
    """Under mm's own wrapper, whose forward pass calls the model's with its hooks."""
    torch.save(dict(state_dict=MODELS.build(CHILD).state_dict()), tmp_path / 'teacher.pth')
    done = run_search(tmp_path, 'distils')
    assert done.returncode == 0, done.stdout[-4000:]
    (scalars, ) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert [row['loss_distillation'] > 0 for row in rows if 'loss_cls' in row] == [True]  # four images on each rank
    state = load(tmp_path / 'work/epoch_1.pth')['state_dict']
    assert list(state) == list(build(child_net_config(tmp_path / 'alone')).model.state_dict())


@pytest.fixture(scope='module')
def batches(tmp_path_factory):
    """The folder of the searches of two processes that are compared with one, and of the one with scaled losses."""
    out = tmp_path_factory.mktemp('batches')
    done = run_search(out, 'batches')
    assert done.returncode == 0, done.stdout[-4000:]
    return out


def test_two_processes_are_one_with_twice_the_batch(batches, tmp_path):
    """Twenty weight steps and twenty architecture steps, the weights' accumulated over several paths or not."""
    for index, arguments in enumerate(BATCH_CONFIGS):
        train(batch_config(tmp_path / f'one_{index}', 4, **arguments))
        one, two = (load(folder / 'epoch_10.pth') for folder in (tmp_path / f'one_{index}', batches / f'{index}'))
        assert one['alternating_optimizer']['arch_steps'] == two['alternating_optimizer']['arch_steps'] == 20
        assert list(one['state_dict']) == list(two['state_dict'])
        for key, value in one['state_dict'].items():
            torch.testing.assert_close(two['state_dict'][key], value, rtol=1e-3, atol=2e-5, msg=key)
        start = MODELS.build(batch_config(tmp_path, 4, **arguments).model).state_dict()
        alpha = 'backbone.architecture_parameters'
        assert (one['state_dict'][alpha] - start[alpha]).abs().max() > .01  # or the comparison would say nothing


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='no gradient scaler for CPUs before PyTorch 2.3')
def test_a_gradient_of_one_rank_that_is_not_finite_stops_the_step_of_all(batches):
    """The scaler of rank 0 sees it in the average: both leave the step out and halve their scale."""
    one, other = (torch.load(batches / f'scaled_{rank}.pth') for rank in (0, 1))
    for record in (one, other):
        assert [scale for _, _, scale in record] == [1024., 512., 512., 512.]
        moved = [{key for key in changed(before, after) if 'running' not in key and 'num_batches' not in key}
                 for before, after, _ in record]
        assert [bool(keys) for keys in moved] == [True, False, True, True]
        assert any('.candidates.' in key for key in moved[0])
    assert all('running' in key for key in changed(one[-1][1], other[-1][1]))


def test_both_ranks_made_all_steps(ranks):
    for record in ranks[0]:
        assert len(record['weight_batches']) == 6  # 8 images, 2 ranks, batches of 2, 3 epochs
        assert len(record['steps']) == 4
        assert all(changed(step['before'], step['after']) == {'alpha'} for step in record['steps'])


def test_ranks_agree_on_weights_architecture_and_paths(ranks):
    one, other = ranks[0]
    assert one['paths'] == other['paths']
    assert len(set(one['paths'])) > 2
    for mine, yours in zip(one['steps'] + [dict(after=one['end'])], other['steps'] + [dict(after=other['end'])]):
        own = {key for key in mine['after'] if 'running' in key}  # BN statistics are each rank's, as mm's DDP has it
        assert changed(mine['after'], yours['after']) <= own
        assert torch.equal(mine['after']['alpha'], yours['after']['alpha'])


@pytest.mark.parametrize('which', ['weight_batches', 'arch_batches'])
def test_ranks_see_different_images(ranks, which):
    seen = [record['weight_batches'] if which == 'weight_batches' else
            [step['batch']['inputs'] for step in record['steps']] for record in ranks[0]]
    # Noise shifts whole images: without their mean they are the data set's own.
    images = [{tuple((image - image.mean()).flatten()[:4].mul(1e3).round().tolist()) for batch in batches[:2]
               for image in batch} for batches in seen]
    assert len(images[0]) == len(images[1]) == 4
    assert not images[0] & images[1]


def test_a_step_takes_the_mean_of_the_ranks_gradients(ranks):
    """Repeated here, in one process: each rank's gradient from its own batch, the step from their mean."""
    model = ToyClassifier(SUPERNET).train().requires_grad_(False)  # as in the step, so that both round alike
    model.dropout.p = 0.
    supernet = model.backbone
    table = madds_table(supernet.search_space, (32, 32), 8)
    for steps in zip(*(record['steps'] for record in ranks[0])):
        gradients = []
        for step in steps:
            state = dict(step['before'])
            alpha = state.pop('alpha').clone().requires_grad_()
            model.load_state_dict(dict(state, **{'backbone.architecture_parameters': alpha.detach()}))
            supernet._buffers['architecture_parameters'] = alpha
            supernet.use_mixture()
            loss = model(**step['batch'], mode='loss')['loss_cls']
            loss = loss + MAddsCost((32, 32))(expected_cost(supernet.probabilities(), table.layers, table.fixed))
            gradients.append(torch.autograd.grad(loss, alpha)[0])
        assert (gradients[0] - gradients[1]).abs().max() > 1e-4
        expected = steps[0]['before']['alpha'] - sum(gradients) / 2
        torch.testing.assert_close(steps[0]['after']['alpha'], expected, rtol=1e-4, atol=1e-5)


def test_only_the_first_rank_exports(ranks):
    out = ranks[1]
    assert (out / 'export_0/arch.json').is_file()
    assert not (out / 'export_1').exists()
