"""The network of an mm model as a module from one image tensor to named tensors, without losses and post-processing."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

#: What dense heads return, in this order: one map for each level.
_DENSE = ('cls_score', 'bbox_pred', 'score_factor')


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested lists, tuples and dicts, each with a name that says where it is."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors(f'{name}_{key}', inner)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _tensors(f'{name}_{index}', inner)


def named_outputs(results: Any) -> dict[str, Tensor]:
    """Name the tensors that an mm model returns in its mode ``'tensor'``.

    Args:
        results (Any): ``logits`` of a segmentor; lists over levels of a detector's dense head: ``cls_score_0``,
            ``bbox_pred_0``, ``score_factor_0`` (such as centerness) and so on; anything else: ``output_…``.
    """
    if isinstance(results, Tensor):
        return dict(logits=results)
    lists = isinstance(results, (list, tuple)) and 1 < len(results) <= len(_DENSE)
    if lists and all(isinstance(maps, (list, tuple)) and all(isinstance(level, Tensor) for level in maps)
                     for maps in results):
        return {name: tensor for kind, maps in zip(_DENSE, results) for name, tensor in _tensors(kind, maps)}
    return dict(_tensors('output', results))


class ExportedNetwork(nn.Module):
    """The network of an mm model.

    Args:
        model (nn.Module): A detector or segmentor whose mode ``'tensor'`` needs nothing but the image.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """An image as the data preprocessor gives it, (N, 3, H, W) → the tensors of :func:`named_outputs`."""
        return tuple(named_outputs(self.model(image, None, mode='tensor')).values())
