"""mmdet's SSD head with a correction that lets it predict. This module needs MMDetection."""

from mmdet.models.dense_heads import SSDHead
from mmengine.registry import MODELS


@MODELS.register_module(force=True)
class SSDLiteHead(SSDHead):
    """mmdet's ``SSDHead`` with the attribute ``loss_cls``, which its base class reads and it does not set.

    In mmdet 3.3 prediction reads ``self.loss_cls``, but ``SSDHead`` has no such module
    (open-mmlab/mmdetection#11063), so training works and every evaluation fails. Arguments, weights and
    results are those of ``SSDHead``.
    """

    loss_cls = None
