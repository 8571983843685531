"""The seed families, by name."""

from fna_mm.checks import shown
from fna_mm.families.efficientnet_lite import EfficientNetLite0
from fna_mm.families.family import BlockOptions, BlockSpec, Convolution, Family
from fna_mm.families.mobilenet_v2 import MobileNetV2
from fna_mm.families.resnet import ResNet, ResNetCaffe, ResNetV1c

#: Name of the family of architectures that do not name one.
DEFAULT = MobileNetV2.name
_FAMILIES: dict[str, Family] = {}

__all__ = ['DEFAULT', 'BlockOptions', 'BlockSpec', 'Convolution', 'Family', 'all_families', 'family', 'find_published',
           'forget_family', 'library_family', 'library_names', 'published_names', 'register_family']


def register_family(new: Family) -> None:
    """Register a family under its name; it replaces a family of the same name.

    Args:
        new (Family): The family.

    Raises:
        ValueError: If a published architecture of another family has the same name as one of this family.
    """
    for other in _FAMILIES.values():
        both = sorted(set(other.published) & set(new.published))
        if other.name != new.name and both:
            raise ValueError(f'the family {new.name!r} publishes {both[0]!r}, which is an architecture of '
                             f'{other.name!r}: give it another name')
    _FAMILIES[new.name] = new


def forget_family(name: str) -> None:
    """The inverse of :func:`register_family`.

    Args:
        name (str): The family's name; a family that is not registered is ignored.
    """
    _FAMILIES.pop(name, None)


def family(name: str) -> Family:
    """The family with a name.

    Raises:
        ValueError: If there is no such family.
    """
    if not isinstance(name, str) or name not in _FAMILIES:
        raise ValueError(f'unknown family {shown(name)}: expected one of {sorted(_FAMILIES)}')
    return _FAMILIES[name]


def all_families() -> tuple[Family, ...]:
    """Every family, in the order in which they were registered."""
    return tuple(_FAMILIES.values())


def published_names() -> list[str]:
    """The names of all published architectures, sorted."""
    return sorted(name for known in _FAMILIES.values() for name in known.published)


def find_published(name: str) -> 'tuple[Family, str] | None':
    """The family and the text form of a published architecture; None if there is no such name.

    Args:
        name (str): Name of the architecture, such as ``'fna_retinanet'``.
    """
    for known in _FAMILIES.values():
        if name in known.published:
            return known, known.published[name]
    return None


def library_family(name: str) -> 'Family | None':
    """The first family of one of mm's own backbones, which says what it is; None if it is of no family.

    Args:
        name (str): Name of the backbone in mm's registry, without a scope.
    """
    return next((known for known in _FAMILIES.values() if name in known.library), None)


def library_names() -> list[str]:
    """The names of mm's own backbones that are of a family."""
    return list(dict.fromkeys(name for known in _FAMILIES.values() for name in known.library))


for _family in (MobileNetV2(), ResNet(), ResNetV1c(), ResNetCaffe(), EfficientNetLite0()):
    register_family(_family)
