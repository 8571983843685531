"""EfficientNet-Lite0 (Liu 2020): MobileNetV2's blocks with kernels of 3 and 5 and more layers.

It is EfficientNet-B0 without squeeze-excitation and with ReLU6, made for devices that quantize. Of the depthwise
networks of today it is the one that users of mm can load without code: its blocks are those of MobileNetV2, so that
``ParameterRemapping`` reads timm's checkpoint by its URL (``efficientnet_lite0_ra-37913777.pth``), and all that works
for MobileNetV2 works for it: fitted remapping, the fused mixture, growth. MobileNetV3, which mmseg has, and
EfficientNet, which mmdet has, have squeeze-excitation. They are refused: reading a checkpoint that has it names its
tensors.
"""

from fna_mm.families.mobilenet_v2 import MobileNetV2


class EfficientNetLite0(MobileNetV2):
    """A 3x3 convolution with stride 2, then stages of MBConv layers."""

    name = 'efficientnet_lite0'
    title = 'EfficientNet-Lite0'
    published = {
        'efficientnet_lite0':
        """[[32, 16], ['k3_e1'], 1]|
           [[16, 24], ['k3_e6', 'k3_e6'], 2]|
           [[24, 40], ['k5_e6', 'k5_e6'], 2]|
           [[40, 80], ['k3_e6', 'k3_e6', 'k3_e6'], 2]|
           [[80, 112], ['k5_e6', 'k5_e6', 'k5_e6'], 1]|
           [[112, 192], ['k5_e6', 'k5_e6', 'k5_e6', 'k5_e6'], 2]|
           [[192, 320], ['k3_e6'], 1]""",
    }
    library = ()
