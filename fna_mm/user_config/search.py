"""A search from a config whose backbone is MobileNetV2 or a child: the supernet, the data in two parts, the hooks."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from mmengine.registry import init_default_scope

from fna_mm import families
from fna_mm.adaptation.trained_model import section_as_child
from fna_mm.architecture import Architecture
from fna_mm.configs import CHILD, SPLIT, SUPERNET, SUPERNET_WRAPPER, BaseValue
from fna_mm.remapping.normalisation import other_normalisation
from fna_mm.sections import INNER, LIST, find_sections, type_of
from fna_mm.user_config.inherited import Addition, UserConfig, imports_of, relative_to

#: Where a seed comes from if the config names none.
DEFAULT_SEED = 'open-mmlab://mmdet/mobilenet_v2'
#: When the architecture steps begin, as a share of the schedule: 8 of 14 epochs in the paper.
BEGIN = 8 / 14
#: Samples of the architecture, as a share: the paper's for detection, and for segmentation.
RATIOS = dict(mmseg=.2)
RATIO = .5
#: Adam moves a parameter by about its rate in a step: steps times rate is what the softmax can move.
_MOVE, _LEAST_RATE, _MOST_RATE = 10., 3e-4, .1
#: Weight steps below which the candidates' own scale and shift cannot be learnt anew.
_SHORT = 20_000
#: Hooks that a search has no use for.
_NOT_IN_SEARCH = ('EMAHook', 'BNCalibrationHook', 'ParameterRemappingHook')
_NUMBERS = {2: 'two', 3: 'three'}
#: Layers of a searched stage in the paper.
_LAYERS = 4
_KEPT = ('out_indices', 'output_stride', 'head_channels', 'with_cp', 'norm_cfg', 'act_cfg', 'dilated')


@dataclass(frozen=True)
class Schedule:
    """How long a search trains.

    Args:
        by_epoch (bool): Whether the loop counts epochs.
        length (int): Epochs or iterations.
        steps_per_epoch (int): Weight steps of an epoch in one process, on the weights' part of the data.
    """

    by_epoch: bool
    length: int
    steps_per_epoch: int

    @property
    def begin(self) -> int:
        """Epochs or iterations before the architecture steps; at least one unit is left for these."""
        return min(self.length - 1, round(BEGIN * self.length))

    @property
    def weight_steps(self) -> int:
        """Weight steps of the search."""
        return self.length * (self.steps_per_epoch if self.by_epoch else 1)

    @property
    def arch_steps(self) -> int:
        """Architecture steps of the search, one behind each weight step."""
        return (self.length - self.begin) * (self.steps_per_epoch if self.by_epoch else 1)

    @property
    def rate(self) -> float:
        """Learning rate of the architecture."""
        return float(f'{min(_MOST_RATE, max(_LEAST_RATE, _MOVE / max(1, self.arch_steps))):.2g}')


def schedule_of(user: UserConfig, images: int) -> Schedule:
    """The schedule of a search from a config.

    Args:
        user (UserConfig): The user's config.
        images (int): Number of training images, in both parts together.

    Raises:
        ValueError: If the config does not say how long it trains.
    """
    loop = user.config.train_cfg
    length = loop.get('max_epochs') or loop.get('max_iters')
    if not isinstance(length, int) or length < 1:
        raise ValueError(f'{user.path} does not say how long it trains: set max_epochs or max_iters in train_cfg, '
                         f'which is {dict(loop)}')
    batch = user.config.train_dataloader.get('batch_size', 1)
    return Schedule('max_epochs' in loop, length, max(1, round(images * (1 - ratio_of(user)) / batch)))


def ratio_of(user: UserConfig) -> float:
    """Share of the samples that the architecture gets.

    Args:
        user (UserConfig): The user's config.
    """
    return RATIOS.get(user.package, RATIO)


def backbone_of(user: UserConfig) -> dict[str, Any]:
    """The section of the child that the user's backbone is.

    Args:
        user (UserConfig): The user's config; its backbone is an ``FNAChildNet`` or mm's MobileNetV2.

    Raises:
        ValueError: If it is another one.
    """
    section = user.model['backbone']
    if user.backbone == CHILD:
        return section
    if not families.library_family(user.backbone):
        if user.backbone == SUPERNET:
            raise ValueError(f'{user.path} is a search already: its backbone is {SUPERNET}')
        raise ValueError(f'the backbone of {user.path} is {user.backbone}: a search starts from '
                         f'{", ".join(families.library_names())} or {CHILD}. '
                         'With --swap, this command first writes the config of the same model with MobileNetV2, which '
                         'is the baseline, too')
    init_default_scope(user.package)
    return dict(section_as_child(section), init_cfg=section.get('init_cfg'))


def seed_of(user: UserConfig, section: Mapping[str, Any]) -> str:
    """The checkpoint that the user's backbone starts from; the seed of mmdet if the config names none.

    Args:
        user (UserConfig): The user's config.
        section (Mapping): The section of its backbone.
    """
    for init in (*find_sections(section.get('init_cfg'), 'ParameterRemapping'),
                 *find_sections(section.get('init_cfg'), 'Pretrained')):
        return str(init['checkpoint'])
    return str(user.config.model.get('pretrained') or DEFAULT_SEED)


def supernet_of(section: Mapping[str, Any], seed: str, short: bool) -> dict[str, Any]:
    """The section of a supernet around a child.

    Args:
        section (Mapping): The section of the child.
        seed (str): The checkpoint that the supernet starts from.
        short (bool): Whether the search is short.

    Raises:
        ValueError: If the child's architecture is illegal.
    """
    made: dict[str, Any] = dict(_delete_=True, type=SUPERNET)
    architecture = Architecture.create(section['arch']).widened(section.get('widen_factor', 1.))
    if architecture != Architecture.create('mobilenet_v2'):
        made['seed'] = _name_of(architecture)
        searched = [stage for stage in architecture.stages if any(layer.searchable for layer in stage.layers)]
        # As many as the seed has, and at least as in the paper; a single last layer stays one.
        depths = [max(_LAYERS, len(stage.layers)) for stage in searched]
        made['layers_per_stage'] = (*depths[:-1], 1 if len(searched[-1].layers) == 1 else depths[-1])
    made.update(families.family(architecture.family).search_space)
    made.update({key: section[key] for key in _KEPT if key in section})
    if short:
        made['candidate_norm_cfg'] = dict(type='BN', affine=True, track_running_stats=False)
    made['init_cfg'] = dict(type='ParameterRemapping', checkpoint=seed)
    return made


def _name_of(architecture: Architecture) -> str:
    """The name of a published architecture, or the text form of another one."""
    same = [name for name in families.family(architecture.family).published
            if Architecture.create(name) == architecture]
    return same[0] if same else architecture.to_text().replace('\n', ' ')


def in_two_parts(section: Any, part: str, ratio: float, inherited: bool, path: str) -> Any:
    """The section of a data set whose innermost data sets are split.

    Args:
        section (Mapping): The user's section, wrappers included.
        part (str): ``'weights'`` or ``'arch'``.
        ratio (float): Share of the part ``'arch'``.
        inherited (bool): Whether mmengine merges the result with the user's section, so that what stays is left out.
        path (str): Where the section is in the user's config, such as ``train_dataloader.dataset``; '' where it
            cannot be named.
    """
    if section.get(LIST):
        # mmengine replaces lists as a whole, and has no name for their parts.
        parts = [in_two_parts(inner, part, ratio, False, '') for inner in section[LIST]]
        return {LIST: parts} if inherited else {**_rest(section, LIST, path), LIST: parts}
    if section.get(INNER):
        inner = in_two_parts(section[INNER], part, ratio, inherited, f'{path}.{INNER}' if path else '')
        return {INNER: inner} if inherited else {**_rest(section, INNER, path), INNER: inner}
    split = dict(type=SPLIT, dataset=BaseValue(path) if path else section, ratio=ratio, part=part, seed=0)
    return dict(_delete_=True, **split) if inherited else split


def _rest(section: Mapping[str, Any], without: str, path: str) -> dict[str, Any]:
    """The other values of a wrapper; long ones are named, not written again."""
    return {key: BaseValue(f'{path}.{key}') if path and isinstance(value, (list, dict)) else value
            for key, value in section.items() if key != without}


def searched(user: UserConfig, out: str, seed: Optional[str], images: int, shape: tuple[int, int],
             budget: str) -> list[Addition]:
    """What makes a user's config a search.

    Args:
        user (UserConfig): The user's config; its backbone is an ``FNAChildNet`` or mm's MobileNetV2.
        out (str): Path of the config that will be written.
        seed (str, optional): The checkpoint that the supernet starts from. None: the user's own.
        images (int): Number of training images, in both parts together.
        shape (tuple[int, int]): (height, width) at which MAdds are counted.
        budget (str): What the child may cost, as ``MAddsCost`` takes it.

    Raises:
        ValueError: If the backbone is another one, or the config does not say how long it trains.
    """
    section, schedule, ratio = backbone_of(user), schedule_of(user, images), ratio_of(user)
    short = schedule.weight_steps < _SHORT
    loader = user.config.train_dataloader.to_dict()
    unit = 'epochs' if schedule.by_epoch else 'iterations'
    change: dict[str, Any] = dict(backbone=supernet_of(section, seed or seed_of(user, section), short))
    kernels, ratios = (_NUMBERS[len(change['backbone'].get(name, default))] for name, default in (
        ('kernel_sizes', (3, 5, 7)), ('expand_ratios', (3, 6))))
    why = (f'The supernet: every layer has candidates of {kernels} kernels and {ratios} expansion ratios, or is left '
           'out.')
    if short:
        why += (f'\nAbout {schedule.weight_steps} weight steps are few: the candidates keep the scale and shift of the '
                "seed's BN.")
    if user.config.model.get('pretrained') is not None:
        change['pretrained'] = None
        why += '\nThe checkpoint is remapped by the backbone; the model no longer names it.'
    difference = other_normalisation(user.model.get('data_preprocessor') or {})
    if difference:
        why += f'\nCareful: {difference}.'
    weights = dict(dataset=in_two_parts(loader['dataset'], 'weights', ratio, True, 'train_dataloader.dataset'),
                   persistent_workers=False)
    kept = [hook for hook in user.config.get('custom_hooks') or [] if type_of(hook) not in _NOT_IN_SEARCH]
    dropped = [type_of(hook) for hook in user.config.get('custom_hooks') or [] if type_of(hook) in _NOT_IN_SEARCH]
    begin = {f'begin_{"epoch" if schedule.by_epoch else "iter"}': schedule.begin}
    hook = dict(
        type='AlternatingOptimizerHook', **begin, dataloader=_arch_loader(loader, ratio, images),
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=schedule.rate, betas=(.5, .999), weight_decay=1e-3),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape=shape, budget=float(budget) if _is_share(budget) else budget))
    export = dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/' + relative_to(out, user.path))
    hooks = [f'Architecture steps begin after {schedule.begin} of {schedule.length} {unit} and follow each weight '
             f'step, on {ratio:.0%} of the images:',
             f'about {schedule.arch_steps} in one process. Their rate is {_MOVE:g} divided by this number, from '
             f'{_LEAST_RATE:g} to {_MOST_RATE:g}.',
             f'MAdds are counted at {shape[0]}x{shape[1]} (height x width); the child costs at most {budget}'
             f'{" of the seed" if _is_share(budget) else ""}.',
             'The child takes the place of the backbone in the config that this one inherits from.']
    if kept:
        hooks.append('The other hooks are that config\'s own.')
    if dropped:
        hooks.append(f'{", ".join(dropped)} {"is" if len(dropped) == 1 else "are"} left out: the weights of a search '
                     'are not kept.')
    return [
        imports_of(user.config),
        Addition('input_shape', shape, 'Height and width at which MAdds are counted.'),
        Addition('model', change, why),
        Addition('model_wrapper_cfg', dict(type=SUPERNET_WRAPPER),
                 'Several GPUs: the gradients of one path are averaged.'),
        Addition('train_dataloader', weights, f'{1 - ratio:.0%} of the images train the weights. Fresh workers every '
                 'epoch: a resumed search reads the same images.'),
        Addition('custom_hooks', [*kept, hook, export], '\n'.join(hooks))]


def _is_share(budget: str) -> bool:
    try:
        return float(budget) <= 100
    except ValueError:
        return False


def _arch_loader(loader: Mapping[str, Any], ratio: float, images: int) -> dict[str, Any]:
    """The data of the architecture steps: as the user's, in a random order, on the other part."""
    made = {key: copy.deepcopy(value) for key, value in loader.items()
            if key not in ('dataset', 'sampler', 'persistent_workers')}
    made['sampler'] = dict(type='DefaultSampler', shuffle=True)
    if 'batch_sampler' not in made or made['batch_sampler'] is None:
        # A last batch of one image would break the BN of maps of one pixel.
        made['drop_last'] = round(ratio * images) >= loader.get('batch_size', 1)
    made['dataset'] = in_two_parts(loader['dataset'], 'arch', ratio, False, 'train_dataloader.dataset')
    return made
