"""Config files: finding those of this package, reading those of searches, and making a child's."""

import copy
import os.path as osp
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config

from fna_mm import families
from fna_mm.architecture import Architecture
from fna_mm.checks import check_input_shape
from fna_mm.search_space import SPACE_ARGUMENTS, SearchSpace
from fna_mm.sections import find_sections, type_of

SUPERNET, CHILD, SPLIT = 'FNASuperNet', 'FNAChildNet', 'RandomSplit'
SUPERNET_WRAPPER = 'FNADistributedDataParallel'
SEARCH_HOOKS = ('AlternatingOptimizerHook', 'ArchitectureExportHook')
#: Arguments of a supernet's backbone section that a child has no use for.
_SEARCH_ARGUMENTS = (*SPACE_ARGUMENTS, 'candidate_norm_cfg', 'arch_sample_num', 'fused', 'seed_preference')
#: Scope of a config → its package, for those with other names; where the package is installed, it says its own.
_PACKAGES = dict(mmseg='mmsegmentation')

_LINE = 120


def configs_dir() -> Path:
    """The folder of this package's configs: the source tree's if there is one, else the installed one.

    Raises:
        FileNotFoundError: If neither exists.
    """
    package = Path(__file__).resolve().parent
    for folder in (package.parent / 'configs', package / '.mim' / 'configs'):
        if (folder / 'demo').is_dir():
            return folder
    raise FileNotFoundError(f'the configs of fna_mm are neither beside nor in {package}: install it again')


def config_names() -> list[str]:
    """Every config that can be trained, as :func:`config_path` takes it.

    Raises:
        FileNotFoundError: If the configs are not there.
    """
    folder = configs_dir()
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.py'))
    return [name for name in names if '_base_' not in name.split('/')]


def config_path(name: str) -> str:
    """The path of a config that came with this package, or with one of mm's.

    A user's config builds on it with ``_base_ = __import__('fna_mm').config_path('fna_retinanet_search.py')``.
    mmengine's ``package::config.py`` works for OpenMMLab's own packages only, but mmengine evaluates ``_base_``. In the
    maintained line it does not find ``mmseg::config.py``: that package has another name there.

    Args:
        name (str): Name of the config, such as fna_retinanet_search.py or bccd/fna_ssdlite_search.py; with a module
            of mm in front, such as mmseg::_base_/default_runtime.py, a config of that module.

    Raises:
        ValueError: If there is no such config.
        ImportError: If there is no such module.
        FileNotFoundError: If the configs are not there.
    """
    module, colons, of_module = name.partition('::')
    if colons:
        return _config_of(module, of_module)
    names = config_names()
    if name not in names:
        near = get_close_matches(name, names, n=3, cutoff=.3) or names
        raise ValueError(f'fna_mm has no config {name!r}: expected {", ".join(near)} or another one that `fna configs` '
                         'lists')
    return str(configs_dir() / name)


@cache
def package_of(scope: str) -> str:
    """The name under which ``mim`` and ``pip`` know the package of a scope.

    It is that of the installed package: of mmseg ``mmsegmentation``, or ``onedl-mmsegmentation`` in the maintained
    line.

    Args:
        scope (str): ``default_scope`` of a config, such as ``mmdet``.
    """
    installed = packages_distributions().get(scope)
    return installed[0] if installed else _PACKAGES.get(scope, scope)


def _config_of(module: str, name: str) -> str:
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None or spec.origin is None:
        raise ImportError(f'{module}::{name} needs the package {module}, which is not installed')
    path = Path(spec.origin).parent / '.mim/configs' / name
    if not path.is_file():
        raise ValueError(f'{module} has no config {name!r}: there is no {path}')
    return str(path)


@dataclass(frozen=True)
class SearchSettings:
    """What the config of a search says about its search space.

    Args:
        space (SearchSpace): The search space.
        input_shape (tuple[int, int]): Input size (height, width) at which multiply-adds are counted.
        output_stride (int): Output stride of the backbone.
    """

    space: SearchSpace
    input_shape: tuple[int, int]
    output_stride: int


def read_search(config: str) -> SearchSettings:
    """Read the search space from the config of a search.

    Args:
        config (str): Path of the config; it has an ``FNASuperNet`` and ``input_shape``.

    Raises:
        ValueError: If the config is not the config of a search.
        FileNotFoundError: If there is no such config.
    """
    cfg = Config.fromfile(config, import_custom_modules=False)
    sections: list[Any] = list(find_sections(cfg._cfg_dict, SUPERNET))
    shape = cfg.get('input_shape')
    if len(sections) != 1 or not shape:
        raise ValueError(f'{config} must be the config of a search, with one {SUPERNET} and input_shape = (height, '
                         f'width); it has {len(sections)} and input_shape={shape!r}')
    return SearchSettings(SearchSpace.of_supernet(sections[0]), check_input_shape(tuple(shape)),
                          sections[0].get('output_stride', 32))


def _only_section(cfg: Config, type_name: str, what: str) -> Any:
    found = list(find_sections(cfg.get('model'), type_name))
    if len(found) != 1:
        raise ValueError(f'{what} must have one {type_name} in its model, but has {len(found)}')
    return found[0]


def child_from_search(search: Config, architecture: Architecture) -> Config:
    """Turn the config of a search into a training config of its child.

    The child replaces the supernet, the whole data set replaces ``RandomSplit``, and the hooks of the
    search are removed. Everything else, such as data and schedule, stays.

    Args:
        search (Config): The config of the search. It is not changed.
        architecture (Architecture): The child's architecture.

    Raises:
        ValueError: If the config has not exactly one supernet.
    """
    cfg = copy.deepcopy(search)
    backbone = _only_section(cfg, SUPERNET, 'the config of the search')
    _become_child(backbone, architecture)
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [hook for hook in hooks if type_of(hook) not in SEARCH_HOOKS]
    for split in find_sections(cfg.get('train_dataloader'), SPLIT):
        inner = split['dataset']
        split.clear()
        split.update(inner)
    cfg.pop('find_unused_parameters', None)  # every parameter of a child is used
    if (cfg.get('model_wrapper_cfg') or {}).get('type') == SUPERNET_WRAPPER:
        cfg.pop('model_wrapper_cfg')
    return cfg


def child_from_retraining(retraining: Config, search: Config, architecture: Architecture) -> Config:
    """Put the found architecture and the search's seed into a retraining config.

    Args:
        retraining (Config): A config with one ``FNAChildNet``, or with mm's own backbone of the family, whose place the
            child takes with what the search's supernet says of it. It is not changed.
        search (Config): The config of the search, whose seed checkpoint the child is remapped from.
        architecture (Architecture): The child's architecture.

    Raises:
        ValueError: If one of the two configs lacks its backbone.
    """
    cfg = copy.deepcopy(retraining)
    supernet = _only_section(search, SUPERNET, 'the config of the search')
    own = type_of((cfg.get('model') or {}).get('backbone') or {})
    if own in families.family(architecture.family).library:
        cfg.model.backbone = copy.deepcopy(supernet)
        _become_child(cfg.model.backbone, architecture)
        cfg.model.pop('pretrained', None)
        cfg.custom_imports = search.custom_imports
        return cfg
    backbone = _only_section(cfg, CHILD, 'child_config')
    backbone['arch'] = architecture.to_text().replace('\n', ' ')
    seeds = list(find_sections(supernet.get('init_cfg'), 'ParameterRemapping'))
    for init in find_sections(backbone.get('init_cfg'), 'ParameterRemapping') if seeds else ():
        init['checkpoint'] = seeds[-1]['checkpoint']
    return cfg


def _become_child(backbone: Any, architecture: Architecture) -> None:
    """Make a child's section of a supernet's."""
    for name in _SEARCH_ARGUMENTS:
        backbone.pop(name, None)
    backbone['type'] = CHILD
    backbone['arch'] = architecture.to_text().replace('\n', ' ')


def child_config(search: Config, architecture: Architecture, work_dir: str,
                 retraining: Optional[Config] = None) -> Config:
    """The complete training config of a child.

    Args:
        search (Config): The config of the search.
        architecture (Architecture): The child's architecture.
        work_dir (str): Work directory of the child. It differs from the search's, so that neither run
            resumes from the other's checkpoints.
        retraining (Config, optional): Retraining config to build on. Defaults to None: the search's own config.

    Raises:
        ValueError: If a config lacks its backbone.
    """
    cfg = (child_from_search(search, architecture) if retraining is None else
           child_from_retraining(retraining, search, architecture))
    cfg.work_dir = work_dir
    cfg.resume = False
    if retraining is None:
        cfg.load_from = None
    for leftover in ('launcher', 'experiment_name'):
        cfg.pop(leftover, None)
    return cfg


class BaseValue(str):
    """A value of the config that another one inherits from, such as ``train_dataloader.dataset``."""


def expression(value: Any, indent: int = 0) -> str:
    """Write a value of a config as Python code, with ``dict(…)`` where the keys allow it, in lines of legal length.

    mm's ``pretty_text`` is not used: its formatter takes as long as the rest of an export together.

    Args:
        value (Any): The value. A :class:`BaseValue` becomes ``{{_base_.…}}``, which mmengine puts in.
        indent (int): Columns that stand before it in its line. Defaults to 0.
    """
    if isinstance(value, dict):
        words = all(isinstance(key, str) and key.isidentifier() and not iskeyword(key) for key in value)
        items = [f'{key}={expression(item, indent + 4)}' if words else f'{key!r}: {expression(item, indent + 4)}'
                 for key, item in value.items()]
        brackets = ('dict(', ')') if words else '{}'
    elif isinstance(value, (list, tuple)):
        items = [expression(item, indent + 4) for item in value]
        brackets = '[]' if isinstance(value, list) else ('(', ', )' if len(items) == 1 else ')')
    else:
        return f'{{{{_base_.{value}}}}}' if isinstance(value, BaseValue) else repr(value)
    line = brackets[0] + ', '.join(items) + brackets[1]
    if '\n' not in line and indent + len(line) <= _LINE:
        return line
    space = '\n' + ' ' * (indent + 4)
    return brackets[0] + space + f',{space}'.join(items) + brackets[1]


def config_text(cfg: Config, title: str) -> str:
    """The text of a config file that mm's tools run without changes.

    Args:
        cfg (Config): The config.
        title (str): The comment in its first line.
    """
    sections = '\n'.join(f'{key} = {expression(value)}' for key, value in Config(cfg._cfg_dict).to_dict().items())
    return f'# {title}\n{sections}\n'


def child_config_text(cfg: Config, path: str) -> str:
    """The text of a child's config, with what it is in its first line.

    Args:
        cfg (Config): The config.
        path (str): Path of the file that it will be.
    """
    return config_text(cfg, 'The child of a search, written by fna_mm. Train it with: mim train <package> '
                       f'{osp.basename(path)}')
