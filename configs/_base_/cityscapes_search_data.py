_base_ = __import__('fna_mm').config_path('mmseg::_base_/datasets/cityscapes.py')

# Cityscapes' training set in two random parts, 80 % for the weights and 20 % for the architecture
# (paper, section 4.1): half-size images, crops of 321. No flipping is mentioned there.
search_crop = (321, 321)
search_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(1024, 512), keep_ratio=True),
    dict(type='RandomCrop', crop_size=search_crop, cat_max_ratio=1.0),
    dict(type='PackSegInputs')
]
search_dataset = dict(
    type='CityscapesDataset',
    data_root={{_base_.data_root}},
    data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
    pipeline=search_pipeline)
train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    # Fresh workers every epoch: a resumed search then reads what the uninterrupted one would have read.
    persistent_workers=False,
    drop_last=True,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(_delete_=True, type='RandomSplit', dataset=search_dataset, ratio=0.2, part='weights', seed=0))
arch_dataloader = dict(
    batch_size=16,
    num_workers=8,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='RandomSplit', dataset=search_dataset, ratio=0.2, part='arch', seed=0))
