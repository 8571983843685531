"""The trained model that all rivals come from, and the files of a rival."""

import copy
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import Tensor

from fna_mm import Architecture, FNAChildNet
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.child import child_section_of
from fna_mm.adaptation.finetuning import finetuning_config
from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.measuring import normalised_images
from fna_mm.adaptation.prices import Prices
from fna_mm.adaptation.tap_widths import CHANNELS, KeptOfTaps, TapWidths
from fna_mm.adaptation.taps import taps_of
from fna_mm.adaptation.teaching import TEACHER, distillation_of, outputs_of, teacher_state
from fna_mm.adaptation.trained_model import TrainedModel, load_trained
from fna_mm.checkpoints.whole_files import checkpoint_bytes, write_whole
from fna_mm.configs import config_text
from fna_mm.cost.complexity import count_config
from fna_mm.hooks.bn_calibration_hook import calibrate_batch_norm
from tools.evidence.protocol import RATE, Task

#: What a rival costs: parameters and multiply-adds of the model, multiply-adds of the backbone, and their share.
COSTS = 'costs.json'
_TITLE = 'A rival of the evidence: mim test evaluates child.pth beside this file, mim train fine-tunes it.'


@dataclass
class Source:
    """The trained model of a run, which every rival is made of.

    Args:
        task (Task): The task.
        trained (TrainedModel): The trained model, with an ``FNAChildNet`` as its backbone.
        seed (int): Seed of the run.
    """

    task: Task
    trained: TrainedModel
    seed: int

    @classmethod
    def load(cls, task: Task, checkpoint: Path, seed: int) -> 'Source':
        """Load the trained model, onto the GPU if there is one.

        Args:
            task (Task): The task.
            checkpoint (Path): Its last checkpoint.
            seed (int): Seed of the run.
        """
        trained = load_trained(str(task.trained), str(checkpoint))
        if torch.cuda.is_available():
            trained.model.cuda()
        return cls(task, trained, seed)

    @cached_property
    def images(self) -> MeasuredImages:
        """The training images as evaluation sees them, in the order of the run."""
        return MeasuredImages(self.trained.config, self.seed)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(height, width) at which multiply-adds are counted: that of the first measured image, as in fna adapt."""
        first = next(normalised_images(self.trained.model, self.images, [0]))
        return first.shape[-2], first.shape[-1]

    @property
    def backbone(self) -> FNAChildNet:
        """The trained backbone."""
        return self.trained.backbone

    @cached_property
    def outputs(self) -> str:
        """The part of the model whose outputs rivals are held near, as fna adapt chooses it; '' for the maps."""
        model = self.trained.model
        return outputs_of(model, model.data_preprocessor(self.images[0], False))

    @property
    def kept(self) -> set[tuple[int, int]]:
        """(stage, layer) of the blocks whose hidden features a head takes: the paper's space keeps their width."""
        return {(stage, 0) for stage in self.backbone.tapped_stages}

    @cached_property
    def taps(self) -> TapWidths:
        """What of the backbone's channels neck and head can read fewer of."""
        chain = Chain(self.backbone, self.shape)
        return TapWidths(self.trained, taps_of(self.trained.model, chain, self.trained.config.model), chain,
                         Prices('madds'), self.shape)

    def last_of(self, kept: Optional[KeptOfTaps]) -> Optional[int]:
        """Channels of the last convolution; None if all are kept.

        Args:
            kept (Mapping[int, Tensor], optional): Row of a narrower tap → the channels that are kept; None for all.
        """
        return self.taps.last_of(kept) if kept else None

    def madds(self, architecture: Architecture, last: Optional[int] = None) -> int:
        """Multiply-adds of a backbone in this model.

        Args:
            architecture (Architecture): Its architecture.
            last (int, optional): Channels of its last convolution. Defaults to None: those of the trained one.
        """
        return architecture.madds(self.shape, self.backbone.output_stride,
                                  self.backbone.built_head_channels if last is None else last)

    def child(self, architecture: Architecture, last: Optional[int] = None) -> Any:
        """A backbone in the place of the trained one, with random weights.

        Args:
            architecture (Architecture): Its architecture.
            last (int, optional): As in :meth:`madds`. Defaults to None.
        """
        section = child_section_of(dict(self.trained.config.model.backbone), architecture, last)
        return MODELS.build(section).to(next(self.backbone.parameters()).device).eval()


def rival_config(source: Source, architecture: Architecture, kept: Optional[KeptOfTaps] = None) -> Config:
    """The config of a rival's fine-tuning: that of ``fna adapt``, which holds all of them near the trained model.

    Args:
        source (Source): The trained model.
        architecture (Architecture): Architecture of the rival's backbone.
        kept (Mapping[int, Tensor], optional): Row of a tap → the channels that are kept. Defaults to None: all.
    """
    section, config = dict(source.trained.config.model.backbone), source.trained.config
    if kept:
        config = copy.deepcopy(config)
        config.model = source.taps.section(kept)
    child = child_section_of(section, architecture, source.last_of(kept))
    near = distillation_of(source.trained.config.model, source.outputs, 1., bool(kept))
    cfg = finetuning_config(config, child, source.task.share, RATE, near)
    # The last state is what counts: it alone is validated.
    loop = cfg.train_cfg
    loop['val_interval'] = loop.get('max_epochs') or loop['max_iters']
    return cfg


def calibrate(source: Source, model: Any) -> None:
    """Measure the BN statistics of a model on the training data, as its fine-tuning does it first.

    Args:
        source (Source): The trained model, whose config says on how many batches.
        model (nn.Module): The model; it is changed.
    """
    hooks = source.trained.config.get('custom_hooks') or []
    batches = next(hook['num_iters'] for hook in hooks if hook['type'] == 'BNCalibrationHook')
    loader = Runner.build_dataloader(dict(source.trained.config.train_dataloader, num_workers=0,
                                          persistent_workers=False), seed=source.seed)
    calibrate_batch_norm(model, itertools.chain.from_iterable(itertools.repeat(loader)), batches)
    model.eval()


def write_teacher(source: Source, folder: Path) -> None:
    """Write the weights of the teacher beside the folders of the rivals.

    Args:
        source (Source): The trained model.
        folder (Path): Where the rivals' folders are.
    """
    write_whole({str(folder / TEACHER): checkpoint_bytes(
        dict(meta={}, state_dict=teacher_state(source.trained.model, source.outputs)))})


def whole_child(source: Source, architecture: Architecture, weights: Mapping[str, Tensor],
                kept: Optional[KeptOfTaps] = None) -> tuple[FNAChildNet, Any]:
    """A backbone and its model with the weights of a whole model.

    Args:
        source (Source): The trained model; the weights of its neck and head are replaced.
        architecture (Architecture): Architecture of the backbone.
        weights (Mapping[str, Tensor]): The weights.
        kept (Mapping[int, Tensor], optional): Row of a tap → the channels that are kept. Defaults to None: all.
    """
    backbone = source.child(architecture, source.last_of(kept))
    if kept:
        model = source.taps.cut(kept, backbone)
        model.load_state_dict(weights)
        return backbone, model
    model, trained = source.trained.model, source.backbone
    model.backbone = backbone
    model.load_state_dict(weights)
    model.backbone = trained  # what the child is compared with
    return backbone, model


def write_child(source: Source, folder: Path, backbone: FNAChildNet, calibrated: bool,
                model: Optional[Any] = None, kept: Optional[KeptOfTaps] = None) -> None:
    """Write ``arch.json``, ``child.pth`` and ``child_config.py`` of a rival, and what it costs.

    Args:
        source (Source): The trained model, of which neck and head are taken over; it is changed.
        folder (Path): Folder of the rival.
        backbone (FNAChildNet): Its backbone.
        calibrated (bool): Whether BN statistics are right already; otherwise they are measured.
        model (nn.Module, optional): The rival if its neck and head are others. Defaults to None: they are not.
        kept (Mapping[int, Tensor], optional): Row of a tap → the channels that are kept. Defaults to None: all.
    """
    model = model or source.trained.model
    trained, architecture, last = source.backbone, backbone.architecture, source.last_of(kept)
    cfg = rival_config(source, architecture, kept)
    whole, _ = count_config(cfg, source.shape)
    costs = dict(params=whole.params, madds=whole.madds, backbone_madds=source.madds(architecture, last),
                 share=source.madds(architecture, last) / source.madds(trained.architecture))
    model.backbone = backbone
    if not calibrated:
        calibrate(source, model)
    cfg.work_dir = str(folder / 'tuned')
    meta: dict[str, Any] = dict(arch=architecture.to_text().replace('\n', ' '), made_by='tools.evidence',
                                dataset_meta={key: value for key, value in source.images.metainfo.items()
                                              if key in ('classes', 'palette')})
    state = {key: value.cpu() for key, value in model.state_dict().items()}
    files = {str(folder / CHANNELS): json.dumps(source.taps.channels_of_maps(kept)).encode()} if kept else {}
    write_whole({
        **files, str(folder / 'arch.json'): architecture.to_json().encode(),
        str(folder / 'child.pth'): checkpoint_bytes(dict(meta=meta, state_dict=state)),
        str(folder / 'child_config.py'): config_text(cfg, _TITLE).encode(),
        str(folder / COSTS): (json.dumps(costs) + '\n').encode()})
