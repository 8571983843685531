# mmdet's own RetinaNet with ResNet-50 on COCO. mmdet publishes a trained model, from which fna adapt starts:
# mim download mmdet --config retinanet_r50_fpn_1x_coco --dest .
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['fna_mm'], allow_failed_imports=False)

input_shape = (800, 1088)  # (height, width) at which MAdds are counted
