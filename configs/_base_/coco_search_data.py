_base_ = 'mmdet::_base_/datasets/coco_detection.py'

# COCO's training set in two random halves: one for the weights, one for the architecture.
# No flipping during the search (paper, appendix A.1).
dataset_type = 'CocoDataset'
data_root = 'data/coco/'
backend_args = None

search_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='PackDetInputs')
]
search_dataset = dict(
    type=dataset_type,
    data_root=data_root,
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
    pipeline=search_pipeline,
    backend_args=backend_args)
train_dataloader = dict(
    dataset=dict(_delete_=True, type='RandomSplit', dataset=search_dataset, ratio=0.5, part='weights', seed=0),
    # Fresh workers every epoch: a resumed search then reads what the uninterrupted one would have read.
    persistent_workers=False)
arch_dataloader = dict(
    batch_size=2,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(type='RandomSplit', dataset=search_dataset, ratio=0.5, part='arch', seed=0))
