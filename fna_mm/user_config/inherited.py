"""A short config that inherits from a user's, and says why of every line that it adds."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from fna_mm.configs import expression
from fna_mm.sections import type_of

#: Columns of a comment.
_LINE = 116


@dataclass(frozen=True)
class Addition:
    """A section of the new config.

    Args:
        name (str): Name of the section, such as ``model``.
        value (Any): What is added to the user's section, or takes its place.
        why (str): The comment in front of it, one line or several.
    """

    name: str
    value: Any
    why: str


@dataclass(frozen=True)
class UserConfig:
    """A config that a user has.

    Args:
        path (str): Its path.
        config (Config): What it says, complete.
    """

    path: str
    config: Config

    @classmethod
    def read(cls, path: str) -> 'UserConfig':
        """Read a config whose model has a backbone.

        Args:
            path (str): Its path.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is written in mm's new style, which a config in the old style cannot inherit from, or
                has no backbone, no training data or no data to evaluate on.
        """
        config = Config.fromfile(path)
        model = config.get('model') or {}
        if isinstance(model.get('type'), type):
            raise ValueError(f'{path} is written in the new style (with read_base(): …), which a config in the old '
                             "style cannot inherit from: write it in the old style first, Config.fromfile(path).dump("
                             "'old_style.py') does")
        if not model.get('backbone'):
            raise ValueError(f'{path} has no model.backbone that could be another one; its model is '
                             f'{model.get("type", "missing")}')
        for name, why in (('train_dataloader', 'a search trains'), ('train_cfg', 'a search trains'),
                          ('val_dataloader', 'a search is judged on images that it does not train on')):
            if not config.get(name):
                raise ValueError(f'{path} has no {name}: {why}; add {name} as mm\'s configs have it')
        return cls(path, config)

    @property
    def model(self) -> dict[str, Any]:
        """The section of the model, as plain values."""
        return self.config.model.to_dict()

    @property
    def backbone(self) -> str:
        """The type of the backbone."""
        return type_of(self.config.model.backbone)

    @property
    def package(self) -> str:
        """The library whose configs look like this: ``mmdet``, ``mmseg``, or another one that the config names."""
        return str(self.config.get('default_scope', 'mmengine'))


def imports_of(config: Mapping[str, Any]) -> Addition:
    """The section that registers what this package adds, beside the user's own imports.

    Args:
        config (Mapping): The user's config.
    """
    own = config.get('custom_imports') or {}
    names = own.get('imports') or []
    names = [names] if isinstance(names, str) else list(names)
    imports = [*names, *(['fna_mm'] if 'fna_mm' not in names else [])]
    return Addition('custom_imports', dict(imports=imports, allow_failed_imports=False),
                    "Registers this package's backbones and hooks.")


def config_file(title: str, base: str, additions: Sequence[Addition]) -> str:
    """The text of a config that inherits from another one.

    Args:
        title (str): Its first comment.
        base (str): Path of the other config, as ``_base_`` takes it.
        additions (Sequence[Addition]): What it adds.
    """
    parts = [f'{_comment(title)}\n_base_ = {base!r}\n']
    for one in additions:
        parts.append(f'{_comment(one.why)}\n{one.name} = {expression(one.value)}\n')
    return '\n'.join(parts)


def _comment(text: str) -> str:
    lines = [line for paragraph in text.splitlines()
             for line in textwrap.wrap(paragraph, _LINE, break_long_words=False)]
    return '\n'.join(f'# {line}' for line in lines)


def relative_to(out: str, path: str) -> str:
    """A path as a config beside ``out`` says it.

    Args:
        out (str): Path of the config that will be written.
        path (str): The other file.
    """
    here, there = os.path.dirname(os.path.abspath(out)), os.path.abspath(path)
    try:
        relative = os.path.relpath(there, here)
    except ValueError:  # another drive
        return there
    return relative.replace(os.sep, '/')
