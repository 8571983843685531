"""Another backbone in a user's config: MobileNetV2, with neck and heads that fit it."""

from typing import Any

from mmengine.registry import init_default_scope

from fna_mm.architecture import Architecture
from fna_mm.configs import CHILD
from fna_mm.remapping.normalisation import MEAN, STD, other_normalisation
from fna_mm.user_config.channels import with_channels
from fna_mm.user_config.inherited import Addition, UserConfig, imports_of
from fna_mm.user_config.maps import FeatureMap, described, in_words, maps_of, stages_like

_ARCH = 'mobilenet_v2'
_NORMS = ('BN', 'SyncBN')


def swapped(user: UserConfig, seed: str) -> list[Addition]:
    """What makes a user's config one with MobileNetV2.

    The old backbone is built, and says what maps it gives; MobileNetV2 gives maps at the same strides.

    Args:
        user (UserConfig): The user's config.
        seed (str): Path or URL of the checkpoint that the backbone starts from.

    Raises:
        ValueError: If MobileNetV2 has no such maps, or the old backbone cannot be asked.
    """
    model = user.model
    init_default_scope(user.package)
    maps = maps_of(model['backbone'])
    architecture = Architecture.create(_ARCH)
    output_stride, stages = stages_like(maps, architecture, f'the backbone {user.backbone} of {user.path}')
    new = [FeatureMap(architecture.stages[stage].out_channels, one.stride) for stage, one in zip(stages, maps)]
    sections = with_channels(model, [one.channels for one in maps], [one.channels for one in new])
    why = [f'{user.backbone} gives {described(maps)}, MobileNetV2 {described(new)}.']
    if sections:
        why.append(f'New in_channels for {in_words(sections)}.')
    change: dict[str, Any] = {}
    if model.get('pretrained') is not None:
        change['pretrained'] = None
        why.append('pretrained named the weights of the old backbone.')
    if other_normalisation(model.get('data_preprocessor') or {}):
        change['data_preprocessor'] = dict(mean=list(MEAN), std=list(STD), bgr_to_rgb=True)
        why.append('The checkpoint was trained on RGB images with this mean and standard deviation.')
    norm = (model['backbone'].get('norm_cfg') or {}).get('type')
    change['backbone'] = dict(
        _delete_=True, type=CHILD, arch=_ARCH, out_indices=stages, output_stride=output_stride,
        norm_cfg=dict(type=norm if norm in _NORMS else 'BN'), init_cfg=dict(type='ParameterRemapping', checkpoint=seed))
    for name, section in sections.items():
        change[name] = changes(model[name], section)
    return [imports_of(user.config), Addition('model', change, '\n'.join(why))]


def changes(before: Any, after: Any) -> Any:
    """What a config must say so that a section of the config that it inherits from becomes another one.

    Args:
        before (Any): The section as it is.
        after (Any): The section as it is to be; it has the same keys.
    """
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after  # mmengine replaces lists as a whole
    return {key: changes(before[key], value) for key, value in after.items() if value != before[key]}
