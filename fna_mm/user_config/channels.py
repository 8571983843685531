"""The channels that necks and heads take from a backbone, changed for another one."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Optional

_IN, _INDEX, _FIRST = 'in_channels', 'in_index', 'c1_in_channels'
#: Parts of a model that are no neck or head, or have no channels.
_OTHERS = ('backbone', 'data_preprocessor', 'train_cfg', 'test_cfg', 'init_cfg', 'type')


def with_channels(model: Mapping[str, Any], before: Sequence[int], after: Sequence[int]) -> dict[str, Any]:
    """The sections of a model that take the maps of its backbone, with the channels of another backbone.

    With a neck, the neck alone takes them; of several necks the first one. Without a neck, all heads do. In these
    sections ``in_channels`` is changed: by ``in_index`` where there is one, else where it is the channels of the maps
    (all, in either order, or one that is the only one of its number). A neck that hands its maps on, as SSD's does,
    gets new ``out_channels``, and so do the ``in_channels`` of the heads behind it.

    Args:
        model (Mapping): The model's section; it is not changed.
        before (Sequence[int]): Channels of the old maps.
        after (Sequence[int]): Channels of the new ones, equally many.

    Returns:
        dict: Name in the model → the changed section; sections that stay are not in it.
    """
    maps = _Maps(before, after)
    neck = model.get('neck')
    result: dict[str, Any] = {}
    if neck:
        first = neck[0] if isinstance(neck, (list, tuple)) else neck
        changed: Any = maps.taken_by(first)
        handed_on = maps.handed_on(first)
        if handed_on is not None:
            changed['out_channels'] = handed_on
            for name in _heads(model):
                head = _with_inputs(model[name], first['out_channels'], handed_on)
                if head != model[name]:
                    result[name] = head
        changed = [changed, *copy.deepcopy(list(neck[1:]))] if isinstance(neck, (list, tuple)) else changed
        if changed != neck:
            result['neck'] = changed
        return result
    for name in _heads(model):
        section = model[name]
        takes: Any = ([maps.taken_by(one, head=True) for one in section] if isinstance(section, (list, tuple)) else
                      maps.taken_by(section, head=True))
        if takes != section:
            result[name] = takes
    return result


def _heads(model: Mapping[str, Any]) -> list[str]:
    return [name for name, section in model.items() if name not in (*_OTHERS, 'neck') and section and isinstance(
        section[0] if isinstance(section, (list, tuple)) else section, Mapping)]


class _Maps:
    """Channels before and after."""

    def __init__(self, before: Sequence[int], after: Sequence[int]) -> None:
        self.before, self.after = list(before), list(after)

    def taken_by(self, section: Mapping[str, Any], head: bool = False) -> dict[str, Any]:
        """A section with the new channels."""
        changed = {key: self._inner(value) for key, value in section.items()}
        if _IN in section:
            changed[_IN] = self._channels(section[_IN], section.get(_INDEX, -1 if head else None))
        if section.get(_FIRST) == self.before[0]:
            changed[_FIRST] = self.after[0]
        return changed

    def _inner(self, value: Any) -> Any:
        """Sections inside of a section take the maps only if they say which, or take all of them."""
        if isinstance(value, Mapping):
            if _INDEX in value or self._all(value.get(_IN)) is not None:
                return self.taken_by(value)
            return {key: self._inner(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._inner(inner) for inner in value)
        return copy.deepcopy(value)

    def _channels(self, value: Any, index: Any) -> Any:
        if isinstance(value, (list, tuple)):
            if (whole := self._all(value)) is not None:
                return whole
            if isinstance(index, (list, tuple)) and len(index) == len(value):
                return type(value)(self._by_index(*pair) for pair in zip(value, index))
            return type(value)(self._by_value(channels) for channels in value)
        if isinstance(index, int):
            return self._by_index(value, index)
        return self._by_value(value)

    def _all(self, value: Any) -> Optional[Any]:
        if isinstance(value, (list, tuple)):
            for before, after in ((self.before, self.after), (self.before[::-1], self.after[::-1])):
                if list(value) == before:
                    return type(value)(after)
        return None

    def _by_index(self, value: int, index: int) -> int:
        fits = -len(self.before) <= index < len(self.before) and self.before[index] == value
        return self.after[index] if fits else self._by_value(value)

    def _by_value(self, value: Any) -> Any:
        return self.after[self.before.index(value)] if self.before.count(value) == 1 else value

    def handed_on(self, neck: Mapping[str, Any]) -> Optional[Any]:
        """The new output channels of a neck that begins with the maps as they are; None for other necks."""
        taken, given = neck.get(_IN), neck.get('out_channels')
        if isinstance(taken, (list, tuple)) and isinstance(given, (list, tuple)) and len(given) > len(taken) and \
                list(given[:len(taken)]) == list(taken):
            return type(given)([*self._channels(taken, None), *given[len(taken):]])
        return None


def _with_inputs(section: Any, before: Any, after: Any) -> Any:
    """A section, and those inside of it, whose ``in_channels`` are ``after`` where they were ``before``."""
    if isinstance(section, Mapping):
        return {key: type(value)(after) if key == _IN and isinstance(value, (list, tuple)) and list(value) == list(
            before) else _with_inputs(value, before, after) for key, value in section.items()}
    if isinstance(section, (list, tuple)):
        return type(section)(_with_inputs(inner, before, after) for inner in section)
    return copy.deepcopy(section)
