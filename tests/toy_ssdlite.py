"""A small SSDLite, trained for a moment on photographs that come with the package."""

from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

import fna_mm.demo
from fna_mm import Architecture
from fna_mm.adaptation.candidate_table import Choice
from fna_mm.adaptation.candidates import Limits, candidates_of, chosen_architecture, with_stem
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.child import build_child, origins_of
from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.measuring import measure_statistics, normalised_images
from fna_mm.adaptation.prices import Prices
from fna_mm.adaptation.refit import fit_alone
from fna_mm.adaptation.statistics import statistics_of
from fna_mm.adaptation.tap_widths import TapWidths
from fna_mm.adaptation.taps import tap_statistics_of, taps_of
from fna_mm.adaptation.trained_model import load_trained
from fna_mm.adaptation.work_folder import WorkFolder

ROOT = Path(__file__).resolve().parents[1]
CELLS = Path(fna_mm.demo.__file__).parent / 'cells'
STEM = 24
ARCH = with_stem(Architecture.create('mobilenet_v2').widened(.25), STEM).to_text().replace('\n', ' ')
#: (height, width) of its images, hidden channels of the tapped block, and channels of the last convolution.
SHAPE = (96, 128)
TAPPED, LAST = 144, 64
CONFIG = f'''
_base_ = {str(ROOT / 'configs/bccd/mobilenet_v2_ssdlite.py')!r}
channels = ({TAPPED}, {LAST}, 32, 16, 16, 8)
model = dict(backbone=dict(arch={ARCH!r}, head_channels={LAST}, init_cfg=None),
             neck=dict(in_channels=channels[:2], out_channels=channels), bbox_head=dict(in_channels=channels))
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=({SHAPE[1]}, {SHAPE[0]}), keep_ratio=False), dict(type='PackDetInputs')]
cells = dict(_delete_=True, type='CocoDataset', data_root={str(CELLS)!r}, ann_file='train.json',
             data_prefix=dict(img='images/'), metainfo=dict(classes=('RBC', 'WBC', 'Platelets')), pipeline=pipeline)
train_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False, dataset=cells)
val_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(
    cells, ann_file='test.json', indices=16, test_mode=True, pipeline=[
        pipeline[0], pipeline[2], pipeline[1], dict(type='PackDetInputs', meta_keys=(
            'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={str(CELLS / 'test.json')!r})
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2, val_interval=2)
param_scheduler = [dict(type='ConstantLR', factor=1.)]
log_level = 'WARNING'
randomness = dict(seed=0)
'''


def train_ssdlite(folder):
    """Train it; return the paths of config and checkpoint.

    Args:
        folder (Path): Where it goes.
    """
    path = folder / 'ssdlite.py'
    path.write_text(CONFIG)
    cfg = Config.fromfile(path)
    cfg.work_dir = str(folder / 'trained')
    cfg.val_cfg, cfg.val_dataloader, cfg.val_evaluator = None, None, None
    Runner.from_cfg(cfg).train()
    return str(path), str(folder / 'trained/epoch_2.pth')


class Measured:
    """A trained model with the statistics of its blocks and taps, from ten images.

    Args:
        paths (tuple[str, str]): Config and checkpoint.
        folder (Path): Where the statistics are saved.
    """

    def __init__(self, paths, folder):
        self.trained = load_trained(*paths)
        self.images = MeasuredImages(self.trained.config)
        self.chain = Chain(self.trained.backbone, SHAPE)
        taps = taps_of(self.trained.model, self.chain, self.trained.config.model)
        self.taps = TapWidths(self.trained, taps, self.chain, Prices('madds'), SHAPE)
        self.statistics = statistics_of(self.chain)
        self.taps.statistics = tap_statistics_of(self.chain, taps)
        measure_statistics(self.trained.model, self.chain, self.statistics, self.images, range(10),
                           WorkFolder(str(folder), dict(a=1)), taps=self.taps.statistics)
        self.candidates = candidates_of(self.chain, Prices('madds'), Limits(), taps=[tap.row for tap in taps],
                                        stem=True)

    def normalised(self, positions=range(10)):
        """Images as the backbone takes them."""
        return normalised_images(self.trained.model, self.images, positions)

    def child(self, widths):
        """The model in which some rows have other widths, fitted alone, and the channels that rows keep.

        Args:
            widths (dict[int, int]): Row of the table of candidates → width.
        """
        chosen = tuple(next(one for one in block if one.width == widths.get(row, block[0].width)
                            and one.kernel == block[0].kernel) for row, block in enumerate(self.candidates))
        blocks = chosen[:len(self.chain.links)]
        origins = origins_of(self.chain, blocks, self.statistics)
        kept = self.taps.kept(Choice(chosen, 0., 0., 0.), origins)
        backbone = build_child(self.trained.backbone, dict(self.trained.config.model.backbone),
                               chosen_architecture(self.trained.architecture, blocks), origins, self.statistics,
                               kept.get(self.taps.last_row))
        fit_alone(Chain(backbone), self.chain, origins, self.statistics)
        return self.taps.narrowed(kept, backbone, self.normalised()), {0: origins[0].kept, **kept}
