"""The images that a seed was trained on, and those that a model gives it."""

from collections.abc import Mapping
from typing import Any, Optional

#: Mean and standard deviation of the RGB images on which torchvision, timm, mm and the authors' release trained.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
#: Numbers that differ by less are the same, rounded.
_ROUNDED = 1.


def other_normalisation(preprocessor: Mapping[str, Any]) -> Optional[str]:
    """How a model's images differ from those that every known seed was trained on; None if they do not.

    Args:
        preprocessor (Mapping): The section ``data_preprocessor`` of the model.

    >>> other_normalisation(dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True))
    >>> other_normalisation(dict(mean=[103.53, 116.28, 123.675], std=[1., 1., 1.]))[:58]
    'data_preprocessor has mean=[103.53, 116.28, 123.675], std='
    """
    same = bool(preprocessor.get('bgr_to_rgb'))  # mm reads images as BGR
    for name, wanted in (('mean', MEAN), ('std', STD)):
        own = tuple(preprocessor.get(name) or ())
        same = same and len(own) == len(wanted) and all(abs(a - b) < _ROUNDED for a, b in zip(own, wanted))
    if same:
        return None
    return (f'data_preprocessor has mean={preprocessor.get("mean")}, std={preprocessor.get("std")}, '
            f'bgr_to_rgb={bool(preprocessor.get("bgr_to_rgb"))}, but the seed was trained on images with '
            f'mean={list(MEAN)}, std={list(STD)}, bgr_to_rgb=True')


def warn_of_normalisation(runner: Any) -> None:
    """Warn in the log if a run normalises images otherwise than its seed has seen them.

    Args:
        runner (Runner): The runner; if its config has no ``data_preprocessor``, nothing is known.
    """
    section = (runner.cfg.get('model') or {}).get('data_preprocessor') or runner.cfg.get('data_preprocessor')
    difference = other_normalisation(section) if isinstance(section, Mapping) else None
    if difference:
        runner.logger.warning(f'{difference}; set these, unless the checkpoint was trained otherwise')
