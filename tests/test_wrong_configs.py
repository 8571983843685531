"""Everything that may be wrong in a search's config: one error that names it, before the first iteration."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from toy_search import CHILD, search_config, train

BACKBONE, HOOK, COST = 'model.backbone.', 'custom_hooks.0.', 'custom_hooks.0.cost.'
ARCH, OPTIM = 'custom_hooks.0.dataloader.', 'custom_hooks.0.optim_wrapper.'
#: Replaces what was there.
NEW = dict(_delete_=True)


def seed(checkpoint, **arguments):
    return {BACKBONE + 'init_cfg': dict(type='ParameterRemapping', checkpoint=checkpoint, **arguments)}


def export(**arguments):
    return {'custom_hooks.1': arguments}


#: What is wrong → changes to the config ({tmp} is a folder with the files below), the error and what it says.
CASES = {
    # The supernet.
    'an even kernel': ({BACKBONE + 'kernel_sizes': (3, 4)}, ValueError, 'kernel_size of an MBConv must be odd, not 4'),
    'no kernels': ({BACKBONE + 'kernel_sizes': ()}, ValueError, 'kernel_sizes must be .* not ()'),
    'a kernel twice': ({BACKBONE + 'kernel_sizes': (3, 3)}, ValueError, r'kernel_sizes must be .* not \(3, 3\)'),
    'a ratio of 0': ({BACKBONE + 'expand_ratios': (0, 6)}, ValueError, 'expand_ratio .* from 1 to 100, not 0'),
    'a ratio as text': ({BACKBONE + 'expand_ratios': ('six', )}, ValueError, "expand_ratio .* not 'six'"),
    'too few stages': ({BACKBONE + 'layers_per_stage': (4, 4, 4)}, ValueError, 'has 3 entries, but the seed has 2'),
    'an empty stage': ({BACKBONE + 'layers_per_stage': (0, 1)}, ValueError,
                       r'layers_per_stage=\(0, 1\) must be an integer from 1 to 100, not 0'),
    'no such stage': ({BACKBONE + 'out_indices': (9, )}, ValueError, r'out_indices=\(9,\) must name stages from 0 to'),
    'no such tap': ({BACKBONE + 'out_indices': ('expand9', )}, ValueError,
                    "'expand9' asks for hidden features .* searched stages"),
    'a tap without its ratio': ({BACKBONE + 'out_indices': ('expand2', 2), BACKBONE + 'expand_ratios': (3, 4)},
                                ValueError, r"'expand2' hands out .* channels, those of the seed.* is \(3, 4\)"),
    'an output stride': ({BACKBONE + 'output_stride': 12}, ValueError, r'output_stride=12 .* one of \[8\]'),
    'no such argument': ({BACKBONE + 'kernels': (3, 5)}, TypeError, "unexpected keyword argument 'kernels'"),
    'no such norm': ({BACKBONE + 'norm_cfg': dict(type='BatchNorm')}, ValueError, "'BatchNorm'.*use BN, SyncBN or GN"),
    'a backbone misspelt': ({BACKBONE + 'type': 'FNASupernet'}, KeyError, 'FNASupernet is not in the .* registry'),
    'a child to search': ({'model.backbone': dict(NEW, **CHILD)},
                          ValueError, 'needs exactly one FNASuperNet .* has 0: set model.backbone.type to FNASuperNet'),
    # When the architecture steps.
    'two beginnings': ({HOOK + 'begin_iter': 3}, ValueError, 'either begin_epoch or begin_iter.*begin_iter=3'),
    'no beginning': ({HOOK + 'begin_epoch': None}, ValueError, 'either begin_epoch or begin_iter'),
    'too late': ({HOOK + 'begin_epoch': 2}, ValueError, 'begin_epoch=2, .* ends after 2 epochs.*at most 1'),
    'before the first epoch': ({HOOK + 'begin_epoch': -1}, ValueError, 'begin_epoch .* at least 0, not -1'),
    'no weight step': ({HOOK + 'weight_steps_per_arch_step': 0}, ValueError, 'must be a positive integer, not 0'),
    'too many weight steps': ({HOOK + 'weight_steps_per_arch_step': 50}, ValueError, '=50, but only 2 iterations'),
    # Its optimizer and its cost.
    'no optimizer': ({HOOK + 'optim_wrapper': dict(NEW, type='OptimWrapper')}, ValueError, 'needs an optimizer'),
    'an optimizer misspelt': ({OPTIM + 'optimizer.type': 'Adamm'}, KeyError, 'Adamm is not in the .* registry'),
    'a negative rate': ({OPTIM + 'optimizer.lr': -1.}, ValueError, 'lr of the optimizer .* at least 0, not -1.0'),
    'clipping without a norm': ({OPTIM + 'clip_grad': dict(NEW, norm=3)}, ValueError, r"\{'norm': 3\} .*max_norm=35"),
    'no such cost': ({COST + 'type': 'FlopsCost'}, KeyError, 'FlopsCost is not in the .* registry'),
    'a cost at no size': ({COST + 'input_shape': (0, 32)}, ValueError, r'input_shape of MAddsCost.* not \(0, 32\)'),
    'a cost at one side': ({COST + 'input_shape': 32}, ValueError, 'input_shape of MAddsCost.* not 32'),
    'a cost that is a gain': ({COST + 'weight': -1}, ValueError, r'weight \(λ\) of MAddsCost .* not -1'),
    'a cost to the base 1': ({COST + 'log_base': 1}, ValueError, 'log_base .* above 1, not 1'),
    # The data.
    'a share above 1': ({ARCH + 'dataset.ratio': 1.5}, ValueError, 'above 0 and below 1, not 1.5'),
    'no such part': ({ARCH + 'dataset.part': 'val'}, ValueError, "must be 'weights' or 'arch', not 'val'"),
    'the same part': ({ARCH + 'dataset.part': 'weights'}, ValueError, 'share 8 of 16 samples'),
    'parts of two splits': ({ARCH + 'dataset.seed': 4}, ValueError, r"share \d of 16 samples.*'arch', seed=4"),
    'an empty part': ({ARCH + 'dataset.ratio': .999}, ValueError, 'ratio=0.999: one part would be empty'),
    'no batch': ({ARCH + 'batch_size': 64, ARCH + 'drop_last': True}, ValueError, '8 samples for batch_size=64'),
    'a data set misspelt': ({ARCH + 'dataset.dataset.type': 'ToyImage'}, KeyError, 'ToyImage is not in the .* registr'),
    # The seed.
    'no such checkpoint': (seed('nowhere.pth'), FileNotFoundError, "checkpoint='nowhere.pth': there is no such file"),
    'of another network': (seed('{tmp}/other.pth'), ValueError, "other.pth': the keys are those of no known Mobile"),
    'no checkpoint at all': (seed('{tmp}/text.pth'), ValueError, "text.pth' is no readable checkpoint"),
    'no such width': (seed('x.pth', width='widest'), ValueError, "width='widest' is no .* one of .'first', 'bn', 'std"),
    'no such kernel': (seed('x.pth', kernel='zoom'), ValueError, "kernel='zoom' is no .* one of .'center', 'dilate'"),
    # The export.
    'never exported': (export(interval=0), ValueError, 'interval of ArchitectureExportHook .* not 0'),
    'exported to a file': (export(out_dir='{tmp}/text.pth/x'), OSError, 'text.pth/x\' cannot be written to'),
    'no such child config': (export(child_config='nowhere.py'), FileNotFoundError, 'nowhere.py'),
    'a config without child': (export(child_config='{tmp}/empty.py'), ValueError, 'must have one FNAChildNet .* has 0'),
    'exported, not searched': ({'custom_hooks': [dict(type='ArchitectureExportHook')]}, ValueError,
                               'without an AlternatingOptimizerHook'),
    # The run.
    'compiled': ({'compile': dict(mode='default')}, ValueError, 'every step runs another path'),
    'calibrated on nothing': ({'custom_hooks.1': dict(type='BNCalibrationHook', num_iters=0)}, ValueError,
                              'num_iters of BNCalibrationHook .* not 0'),
}


@HOOKS.register_module(force=True)
class NoIteration(Hook):
    """Fails when training begins."""

    priority = 'HIGHEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        raise AssertionError('training began')


def wrong_config(folder, changes):
    (folder / 'text.pth').write_text('hello')
    (folder / 'empty.py').write_text("model = dict(type='ToyClassifier')\n")
    torch.save({'a.weight': torch.zeros(3)}, folder / 'other.pth')

    def filled(node):
        if isinstance(node, dict):
            return {key: filled(value) for key, value in node.items()}
        return node.replace('{tmp}', str(folder)) if isinstance(node, str) else node

    cfg = search_config(folder / 'work')
    cfg.custom_hooks.append(dict(type='ArchitectureExportHook'))
    cfg.merge_from_dict(filled(changes))
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type='NoIteration')]
    return cfg


def test_the_config_itself_is_right(tmp_path):
    with pytest.raises(AssertionError, match='training began'):
        train(wrong_config(tmp_path, {}))


@pytest.mark.parametrize('case', CASES)
def test_one_clear_error_before_training(tmp_path, case):
    changes, error, message = CASES[case]
    cfg = wrong_config(tmp_path, changes)
    with pytest.raises(error) as raised:
        train(cfg)
    text = str(raised.value)
    assert type(raised.value) is error
    assert re.search(message, text), text
    assert '\n' not in text.strip()
    assert not list(Path(cfg.work_dir).glob('*.pth'))


def test_two_searches_at_once(tmp_path):
    cfg = wrong_config(tmp_path, {})
    cfg.custom_hooks = [cfg.custom_hooks[0], *cfg.custom_hooks]
    with pytest.raises(ValueError, match='more than one AlternatingOptimizerHook'):
        train(cfg)


@pytest.mark.parametrize('changes', [{BACKBONE + 'kernel_sizes': (3, 7)}, {BACKBONE + 'expand_ratios': (6, )}])
def test_a_search_is_not_resumed_in_another_space(tmp_path, changes):
    train(search_config(tmp_path))
    cfg = search_config(tmp_path, epochs=3, resume=True)
    cfg.merge_from_dict(changes)
    with pytest.raises(ValueError, match=r'in another space.*layer2.0 has \[.*k5_e3.*\], the config\'s \['):
        train(cfg)
