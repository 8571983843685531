"""``fna search-config``: a search, or a baseline with MobileNetV2, from a config that a user has."""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Optional

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from fna_mm.checkpoints.whole_files import check_outputs, write_whole
from fna_mm.checks import check_input_shape
from fna_mm.configs import package_of
from fna_mm.cost.budget import Budget
from fna_mm.cost.complexity import evaluation_size
from fna_mm.cost.cost_loss import MOST
from fna_mm.sections import leaves_of
from fna_mm.user_config.inherited import Addition, UserConfig, config_file, relative_to
from fna_mm.user_config.search import DEFAULT_SEED, backbone_of, searched
from fna_mm.user_config.swap import swapped
from fna_mm.user_config.trial import make_steps


def swap_config(config: str, out: str, seed: Optional[str] = None, trial: bool = True) -> str:
    """Write a config of the same model with MobileNetV2 as its backbone.

    Args:
        config (str): Path of an mmdet or mmseg config.
        out (str): Path of the config that is written.
        seed (str, optional): Path or URL of the checkpoint that MobileNetV2 starts from. Defaults to None: mmdet's.
        trial (bool): Make a training step on two images before it is written. Defaults to True.

    Returns:
        str: What was added, as it was written.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: If MobileNetV2 cannot take the backbone's place, or the model does not train with it.
        OSError: If ``out`` cannot be written.
    """
    check_outputs([out], [config])
    user = UserConfig.read(config)
    additions = swapped(user, seed or DEFAULT_SEED)
    title = (f'{os.path.basename(config)} with MobileNetV2 as its backbone, written by fna_mm. Train it with:\n'
             f'mim train {package_of(user.package)} {os.path.basename(out)}')
    return _write(user, out, title, lambda path: additions, f'{_model(user)} with MobileNetV2' if trial else None)


def search_config(config: str, out: str, seed: Optional[str] = None, shape: Optional[Sequence[int]] = None,
                  budget: str = '0.8', trial: bool = True) -> str:
    """Write the config of a search from a config whose backbone is MobileNetV2 or a child.

    Args:
        config (str): Path of an mmdet or mmseg config.
        out (str): Path of the config that is written.
        seed (str, optional): Path or URL of the checkpoint that the supernet starts from. Defaults to None: the
            config's own.
        shape (Sequence[int], optional): (height, width) at which MAdds are counted. Defaults to None: the size to
            which the test pipeline resizes.
        budget (str): What the child's backbone may cost: a share of the seed's MAdds, or a number such as ``'250M'``.
            Defaults to '0.8'.
        trial (bool): Make a step of each kind on two images before it is written. Defaults to True.

    Returns:
        str: What was added, as it was written.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: If a search cannot be made of the config; the message says why.
        OSError: If ``out`` cannot be written.
    """
    check_outputs([out], [config])
    Budget.parse(budget, most=MOST)
    user = UserConfig.read(config)
    backbone_of(user)
    size = shape or evaluation_size(user.config)
    if size is None:
        raise ValueError(f'{config} does not say at which size it is evaluated: give --shape HEIGHT WIDTH, at which '
                         'MAdds are counted')
    size = check_input_shape(tuple(size))
    with redirect_stdout(sys.stderr):  # data sets print while they read
        number = _number_of_images(user)
    title = (f'A search from {os.path.basename(config)}, written by fna_mm. Search with:\n'
             f'mim train {package_of(user.package)} {os.path.basename(out)}')
    return _write(user, out, title, lambda path: searched(user, path, seed, number, size, budget),
                  f'the search from {config}' if trial else None)


def _model(user: UserConfig) -> str:
    return f'{user.config.model.get("type")} of {user.path}'


def _number_of_images(user: UserConfig) -> int:
    init_default_scope(user.package)
    number = 0
    for leaf in leaves_of(user.config.train_dataloader['dataset']):
        try:
            number += len(DATASETS.build(leaf))
        except Exception as error:  # a user's own data set may raise anything
            raise ValueError(f'the training data set {leaf.get("type")} of {user.path} cannot be read: '
                             f'{type(error).__name__}: {error}') from error
    return number


def _write(user: UserConfig, out: str, title: str, additions: Callable[[str], Sequence[Addition]],
           trial: Optional[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        # mmengine reads the text as it will read the file; another folder has other paths.
        path = os.path.join(folder, 'config.py')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(config_file(title, os.path.abspath(user.path), additions(path)))
        made = Config.fromfile(path)
        if trial:
            with redirect_stdout(sys.stderr):
                make_steps(made, trial)
    text = config_file(title, relative_to(out, user.path), additions(out))
    write_whole({out: text.encode()})
    return text
