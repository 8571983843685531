# The demo's trained detector: RetinaNet with MobileNetV2 on photographs of blood cells, which come with fna_mm.
_base_ = '../adaptation/mobilenet_v2_bccd_retinanet.py'

data_root = '{{$FNA_DEMO_CELLS:fna_mm/demo/cells}}'
search_dataset = dict(data_root=data_root, ann_file='train.json')
train_dataloader = dict(num_workers=0, dataset=dict(data_root=data_root, ann_file='train.json'))
val_dataloader = dict(num_workers=0, dataset=dict(data_root=data_root, ann_file='test.json'))
test_dataloader = dict(num_workers=0, dataset=dict(data_root=data_root, ann_file='test.json'))
val_evaluator = dict(ann_file=data_root + '/test.json')
test_evaluator = dict(ann_file=data_root + '/test.json')
