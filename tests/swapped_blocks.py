"""Blocks of a trained model that are swapped by hand: what scores and children are compared with."""

import torch
from mmengine.registry import MODELS

from fna_mm.adaptation import Limits
from fna_mm.adaptation.candidates import candidates_of, chosen_architecture
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.child import build_child, origins_of
from fna_mm.adaptation.prices import Prices
from fna_mm.adaptation.refit import fit_alone


def loss_of(model, images, position):
    with torch.no_grad():
        data = model.data_preprocessor(images[position], False)
        return float(model.parse_losses(model.loss(data['inputs'], data['data_samples']))[0])


def child_of(trained, chain, statistics, widths, kernels=None):
    """The backbone in which some blocks have other widths or kernels, fitted alone."""
    options = candidates_of(chain, Prices('madds'), Limits())
    choice = [next(candidate for candidate in block if candidate.width == widths.get(index, block[0].width)
                   and candidate.kernel in ((kernels or {}).get(index, block[0].kernel), 0))
              for index, block in enumerate(options)]
    origins = origins_of(chain, choice, statistics)
    child = build_child(trained.backbone, dict(trained.config.model.backbone),
                        chosen_architecture(trained.architecture, choice), origins, statistics)
    fit_alone(Chain(child), chain, origins, statistics)
    return child, origins


def with_backbone(trained, child):
    model = MODELS.build(dict(trained.config.model, backbone=dict(trained.config.model.backbone))).eval()
    model.load_state_dict(trained.model.state_dict())
    model.backbone = child
    return model
