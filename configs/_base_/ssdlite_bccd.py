# SSDLite for BCCD: platelets of 19 pixels, red cells of 51 and white cells of 94 at 240x320.
_base_ = ['./ssdlite_fna.py', './bccd.py']

input_shape = (240, 320)

model = dict(
    bbox_head=dict(
        num_classes=3,
        anchor_generator=dict(
            min_sizes=[22, 50, 100, 150, 200, 230], max_sizes=[100, 150, 200, 230, 260, 290])))

# Random crops besides flipping: SSD's anchors are matched to few of the few images' boxes.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='MinIoURandomCrop', min_ious=(0.5, 0.7, 0.9), min_crop_size=0.6),
    dict(type='Resize', scale=(320, 240), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
# The last levels are single pixels: BN needs more than one image.
train_dataloader = dict(drop_last=True, dataset=dict(pipeline=train_pipeline))
