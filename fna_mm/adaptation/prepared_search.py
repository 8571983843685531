"""A gradient search that starts from a trained model: candidates are fitted, architecture parameters from scores."""

import copy
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from fna_mm.adaptation.candidate_table import CandidateTable
from fna_mm.adaptation.candidates import LEFT_OUT, Candidate
from fna_mm.adaptation.chain import Chain, Link
from fna_mm.adaptation.child import write_fit
from fna_mm.adaptation.narrow_block import fill_block
from fna_mm.adaptation.statistics import Statistics
from fna_mm.adaptation.trained_model import TrainedModel
from fna_mm.backbones.fna_supernet import FNASuperNet
from fna_mm.configs import SUPERNET
from fna_mm.families import BlockSpec
from fna_mm.remapping.tensor_remapping import depth_index
from fna_mm.search_space import SearchableLayer, candidate_name
from fna_mm.sections import find_sections

#: A candidate whose score is this many median scores above another one's is e times less probable. In units of their
#: standard errors, which are a few percent, a search would start where its softmax is flat and stay there.
_SCORES_PER_E = 1.


def build_search(config: str, trained: TrainedModel) -> Any:
    """Build the model of a search, and check that a trained model can be its start.

    Args:
        config (str): Path of the search's config.
        trained (TrainedModel): The trained model.

    Raises:
        FileNotFoundError: If there is no such config.
        ValueError: If it is no search, has other stages than the trained backbone or another neck or head, a candidate
            is wider than the trained block, or candidates have no scale and shift, which a fit needs.
    """
    cfg = Config.fromfile(config)
    sections = list(find_sections(cfg.get('model'), SUPERNET))
    if len(sections) != 1:
        raise ValueError(f'{config} must be the config of a search, with one {SUPERNET} in its model; it has '
                         f'{len(sections)}')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(copy.deepcopy(cfg.model))
    net: FNASuperNet = model.backbone
    own, other = (tuple((stage.in_channels, stage.out_channels, stage.stride) for stage in architecture.stages)
                  for architecture in (trained.architecture, net.search_space.seed))
    if own != other or net.output_stride != trained.backbone.output_stride:
        raise ValueError(f'the search of {config} has stages (in, out, stride) {other} at output stride '
                         f'{net.output_stride}, the trained backbone {own} at {trained.backbone.output_stride}')
    if net.dilated != trained.backbone.dilated:
        wanted = trained.backbone.dilated
        raise ValueError(f'the search of {config} has dilated={net.dilated!r}, the trained backbone {wanted!r}: set '
                         f'dilated={wanted!r} in the backbone of the search')
    affine = sections[0].get('candidate_norm_cfg', dict(affine=False)).get('affine', True)
    if not affine:
        raise ValueError(f'the candidates of {config} have no scale and shift, in which a fit is written: set '
                         'candidate_norm_cfg=dict(type=\'BN\', affine=True, track_running_stats=False)')
    depths = [len(stage.layers) for stage in trained.architecture.stages]
    for layer in net.search_space.layers:
        stage, position = trained.architecture.stages[layer.stage], depth_index(layer.index, depths[layer.stage])
        if layer.index > 0 and position == 0:
            raise ValueError(f'{layer.name} of the search has no layer to start from: the stage {stage.label} of the '
                             'trained backbone has one layer, which changes the channels; search one layer there')
        most = stage.layers[position].hidden_channels(layer.in_channels)
        for spec in layer.candidates:
            width = 0 if spec is None else spec.hidden_channels(layer.in_channels)
            if width > most:
                raise ValueError(f'the candidate {spec} of {layer.name} has {width} hidden channels, the trained block '
                                 f'{most}: a search that starts from a trained model can narrow blocks only')
    _check_rest(model, trained, net)
    return model


def prepare_model(model: Any, trained: TrainedModel, chain: Chain, table: CandidateTable, statistics: Statistics
                  ) -> dict[str, int]:
    """Give a search's model the weights of a trained one, fit all its candidates, and set its architecture parameters.

    A candidate with a larger kernel has the trained one in its centre, a layer that the trained backbone does not have
    starts as the identity. The architecture parameters are minus the scores, in units of the median one.

    Args:
        model (nn.Module): What :func:`build_search` gave; it is changed.
        trained (TrainedModel): The trained model.
        chain (Chain): Its backbone.
        table (CandidateTable): The scores.
        statistics (Statistics): Statistics of its blocks.

    Returns:
        dict[str, int]: How many candidates were fitted, and how many started as the identity.
    """
    net: FNASuperNet = model.backbone
    state = trained.model.state_dict()
    model.load_state_dict({key: state[key] for key in _check_rest(model, trained, net)}, strict=False)
    links = {(link.stage, link.layer): index for index, link in enumerate(chain.links)}
    depths = [len(stage.layers) for stage in trained.architecture.stages]
    counts = dict(fitted=0, identity=0)
    scores: list[list[float]] = []
    for layer in net.search_space.layers:
        index = links[layer.stage, depth_index(layer.index, depths[layer.stage])]
        added = layer.index >= depths[layer.stage]
        op: Any = list(net.stage(layer.stage).children())[layer.index]
        for spec in layer.candidates:
            if spec is not None:
                _fit_candidate(op.candidates[candidate_name(spec)], spec, layer, chain.links[index], statistics, index,
                               identity=added)
                counts['identity' if added else 'fitted'] += 1
        scores.append([0. if added else _score(table, index, spec, layer) for spec in layer.candidates])
    positive = [score for of_layer in scores for score in of_layer if score > 0]
    unit = float(np.median(positive)) * _SCORES_PER_E if positive else 1.
    flat = torch.tensor([-score / unit for of_layer in scores for score in of_layer])
    with torch.no_grad():
        net.architecture_parameters.copy_(flat.to(net.architecture_parameters))
    return counts


def _check_rest(model: nn.Module, trained: TrainedModel, net: FNASuperNet) -> list[str]:
    """The keys of what is not searched: neck, head, stem, fixed stages, last convolution; both models have them."""
    searched = tuple(f'backbone.layer{stage + 1}.' for stage in net.search_space.searched_stages)
    own, theirs = model.state_dict(), trained.model.state_dict()
    rest = [key for key in own if not key.startswith(searched) and key != 'backbone.architecture_parameters']
    wrong = [key for key in rest if key not in theirs or theirs[key].shape != own[key].shape]
    if wrong:
        raise ValueError(f'the model of the search differs from the trained one outside of what is searched: {wrong[0]}'
                         f'{f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""}')
    return rest


def _fit_candidate(block: Any, spec: BlockSpec, layer: SearchableLayer, link: Link, statistics: Statistics, index: int,
                   identity: bool) -> None:
    block_statistics = statistics[index, min(spec.kernel_size, link.spec.kernel_size)]
    width = spec.hidden_channels(layer.in_channels)
    kept = block_statistics.kept(width)
    fill_block(block, block_statistics, width)
    output = link._replace(block=block).output
    write_fit(output, block_statistics.fit(kept), link.output.norm.running_var)
    if identity:
        nn.init.zeros_(output.norm.weight)
        nn.init.zeros_(output.norm.bias)


def _score(table: CandidateTable, index: int, spec: Any, layer: SearchableLayer) -> float:
    link = table.chain.links[index]
    if spec is None:
        return table.score(index, Candidate(LEFT_OUT, None, 0))[0]
    width = max(spec.hidden_channels(layer.in_channels), min(
        candidate.width for candidate in table.candidates[index] if candidate.width))
    # A larger kernel than the trained one starts as the trained one.
    kernel = min(spec.kernel_size, link.spec.kernel_size)
    return table.score(index, Candidate(width, link.spec.resized(kernel, width, layer.in_channels), 0))[0]
