# mmseg's own DeepLabv3 with ResNet-18 on Cityscapes. mmseg publishes a trained model, from which fna adapt starts:
# mim download mmsegmentation --config deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024 --dest .
_base_ = __import__('fna_mm').config_path('mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py')
custom_imports = dict(imports=['fna_mm'], allow_failed_imports=False)

input_shape = (1024, 2048)  # (height, width) at which MAdds are counted
