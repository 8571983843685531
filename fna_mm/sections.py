"""Finding sections in a config: dicts with a ``type``, and the data sets inside of wrappers."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

#: Where a wrapper keeps its data set, or its list of data sets.
INNER, LIST = 'dataset', 'datasets'


def type_of(section: Mapping[str, Any]) -> str:
    """The name of a section's type, without a scope before it; of a class, its name.

    Args:
        section (Mapping): The section.
    """
    kind = section.get('type')
    return kind.__name__ if isinstance(kind, type) else str(kind).rpartition('.')[2]


def without_weights(section: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a backbone's section that does not name weights.

    Args:
        section (Mapping): The section.
    """
    return {key: copy.deepcopy(value) for key, value in section.items() if key not in ('init_cfg', 'pretrained')}


def find_sections(node: Any, type_name: str) -> Iterator[Any]:
    """Every dict in a config whose ``type`` is ``type_name`` (with or without a scope before it)."""
    if isinstance(node, Mapping):
        if type_of(node) == type_name:
            yield node
        for value in list(node.values()):
            yield from find_sections(value, type_name)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from find_sections(value, type_name)


def leaves_of(section: Any) -> list[Any]:
    """The sections of the data sets inside of wrappers, in order.

    Args:
        section (Mapping): The section of a data set.
    """
    if section.get(LIST):
        return [leaf for inner in section[LIST] for leaf in leaves_of(inner)]
    return leaves_of(section[INNER]) if section.get(INNER) else [section]
