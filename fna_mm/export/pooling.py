"""Adaptive average pooling in an ONNX file, which PyTorch's exporter writes for sizes that divide the map's alone."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.onnx import symbolic_helper

_OPERATOR = 'aten::adaptive_avg_pool2d'


def pooling_matrix(size: int, out: int) -> Tensor:
    """The matrix of adaptive average pooling along one side.

    Output i is the mean of the inputs from floor(i * size / out) to ceil((i + 1) * size / out), as PyTorch defines it.

    Args:
        size (int): Pixels of the input along the side.
        out (int): Pixels of the output.

    Returns:
        Tensor: Shape (out, size).
    """
    matrix = torch.zeros(out, size)
    for index in range(out):
        start, end = index * size // out, math.ceil((index + 1) * size / out)
        matrix[index, start:end] = 1 / (end - start)
    return matrix


def _pooled(graph: Any, image: Any, output_size: Any) -> Any:
    """What the exporter writes for the operator."""
    sides = symbolic_helper._parse_arg(output_size, 'is')
    if all(side == 1 for side in sides):
        return graph.op('GlobalAveragePool', image)
    sizes = symbolic_helper._get_tensor_sizes(image) or [None]
    if None in sizes[-2:]:
        raise ValueError(f'adaptive pooling to {tuple(sides)} is written for one size of the image: leave out dynamic')
    rows, columns = (pooling_matrix(size, side) for size, side in zip(sizes[-2:], sides))
    image = graph.op('MatMul', graph.op('Constant', value_t=rows), image)
    return graph.op('MatMul', image, graph.op('Constant', value_t=columns.T.contiguous()))


@contextmanager
def any_pooling(opset: int) -> Iterator[None]:
    """Let the exporter write adaptive pooling to any size, such as that of PSPNet's head, as two products.

    Args:
        opset (int): Version of ONNX's operators.
    """
    torch.onnx.register_custom_op_symbolic(_OPERATOR, _pooled, opset)
    try:
        yield
    finally:
        torch.onnx.unregister_custom_op_symbolic(_OPERATOR, opset)
