"""mmdet's SSD head, able to predict. Needs MMDetection."""

from mmdet.models.dense_heads import SSDHead
from mmengine.registry import MODELS


@MODELS.register_module(force=True)
class SSDLiteHead(SSDHead):
    """``SSDHead`` of mmdet with the one attribute that its base class asks for and it does not set.

    In mmdet 3.3 prediction looks at ``self.loss_cls``, but SSD's losses are no module
    (open-mmlab/mmdetection#11063); training works, every evaluation fails. Arguments, weights and
    results are those of ``SSDHead``.
    """

    loss_cls = None
