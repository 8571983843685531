"""The models of the paper, counted anew from the configs that build them."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Optional

from mmengine.config import Config
from mmengine.registry import MODELS

from fna_mm.configs import configs_dir
from fna_mm.cost.complexity import CountedModel, count, count_config, render


class PublishedModel(NamedTuple):
    """A model and its figures in the paper (parameters in M, multiply-adds in G), None where it has none."""

    name: str
    config: str
    arch: Optional[str] = None
    published: Optional[tuple[str, str]] = None


#: Fang et al. 2020, tables 1 and 3. With an ``arch``, its backbone up to the last stage is counted alone.
PAPER_MODELS = (
    PublishedModel('RetinaNet, MobileNetV2', 'mobilenet_v2_retinanet.py', None, ('11.49', '133.05')),
    PublishedModel('RetinaNet, FNA', 'fna_retinanet_retrain.py', None, ('11.74', '133.03')),
    PublishedModel('SSDLite, MobileNetV2', 'mobilenet_v2_ssdlite.py', None, ('4.3', '0.8')),
    PublishedModel('SSDLite, FNA', 'fna_ssdlite_retrain.py', None, ('4.6', '0.9')),
    PublishedModel('DeepLabv3, MobileNetV2', 'mobilenet_v2_deeplabv3.py', None, ('2.57', '24.52')),
    PublishedModel('DeepLabv3, FNA', 'fna_deeplabv3_retrain.py', None, ('2.55', '24.17')),
    PublishedModel('DeepLabv3+, FNA, output stride 16', 'fna_deeplabv3plus_os16_retrain.py', None, ('5.71', '210.11')),
    PublishedModel('DeepLabv3+, FNA, output stride 8', 'fna_deeplabv3plus_os8_retrain.py', None, ('5.71', '313.87')),
    PublishedModel('backbone of RetinaNet, MobileNetV2', 'mobilenet_v2_retinanet.py', 'mobilenet_v2'),
    PublishedModel('backbone of RetinaNet, FNA', 'fna_retinanet_retrain.py', 'fna_retinanet'),
    PublishedModel('backbone of SSDLite, FNA', 'fna_ssdlite_retrain.py', 'fna_ssdlite'),
    PublishedModel('backbone of DeepLabv3, FNA', 'fna_deeplabv3_retrain.py', 'fna_deeplabv3'),
    PublishedModel('backbone of DeepLabv3, MobileNetV2', 'mobilenet_v2_deeplabv3.py', 'mobilenet_v2'),
)


def paper_table(style: str = 'text', progress: Optional[Callable[[Sequence], Iterable]] = None) -> str:
    """Every model of the paper: counted, published, and the difference.

    Args:
        style (str): ``text``, ``markdown`` or ``json``. Defaults to 'text'.
        progress (Callable, optional): Iterates over the models and shows how far it is.

    Raises:
        ImportError: If mmdet or mmseg is missing.
    """
    rows = []
    for model in (progress or iter)(PAPER_MODELS):
        cfg = Config.fromfile(configs_dir() / model.config)
        size = tuple(cfg.input_shape)
        if model.arch is None:
            counted, _ = count_config(cfg, size)
        else:
            backbone = dict(type='FNAChildNet', arch=model.arch, out_indices=(6, ),
                            output_stride=cfg.model.backbone.get('output_stride', 32))
            counted = count(MODELS.build(backbone), size)
        rows.append(CountedModel(model.name, (size[0], size[1]), counted, model.published))
    return render(rows, style)
