"""A small SSDLite, trained for a moment on photographs that come with the package."""

from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

import fna_mm.demo
from fna_mm import Architecture
from fna_mm.adaptation.candidates import with_stem

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
