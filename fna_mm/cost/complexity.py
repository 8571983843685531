"""Parameters and multiply-adds of a whole model of mm, measured by running it on tensors without data."""

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fna_mm.architecture import Architecture
from fna_mm.checks import check_input_shape


@dataclass(frozen=True)
class Complexity:
    """What a network costs.

    Args:
        params (int): Parameters, architecture parameters not among them.
        madds (int): Multiply-adds of convolutions and linear layers, biases included, each counted
            once, batch 1.
    """

    params: int
    madds: int


@dataclass(frozen=True)
class CountedModel:
    """A line of a table.

    Args:
        name (str): What was counted.
        input_shape (tuple[int, int]): (height, width) of the image.
        complexity (Complexity): Its parameters and multiply-adds.
        published (tuple[str, str], optional): The same in a publication, in M and G, with its digits.
            Defaults to None.
    """

    name: str
    input_shape: tuple[int, int]
    complexity: Complexity
    published: Optional[tuple[str, str]] = None

    def differences(self) -> Optional[tuple[float, float]]:
        """How far the count lies above the published parameters and multiply-adds, as shares of them."""
        if self.published is None:
            return None
        params, madds = (float(text) for text in self.published)
        return self.complexity.params / 1e6 / params - 1, self.complexity.madds / 1e9 / madds - 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: parameters in M, multiply-adds in G, differences as shares."""
        result: dict[str, Any] = dict(
            model=self.name, input_shape=list(self.input_shape), params_m=self.complexity.params / 1e6,
            madds_g=self.complexity.madds / 1e9)
        differences = self.differences()
        if self.published is not None and differences is not None:
            result.update(paper_params_m=float(self.published[0]), paper_madds_g=float(self.published[1]),
                          params_difference=differences[0], madds_difference=differences[1])
        return result


def _out_elements(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())


def _convolution(x_shape: Any, w_shape: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
                 *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    positions = x_shape if transposed else out_shape
    per_position = _out_elements(w_shape[1:])
    madds = positions[0] * positions[1] * _out_elements(positions[2:]) * per_position
    return madds + (_out_elements(out_shape) if bias is not None else 0)


def _addmm(bias_shape: Any, a_shape: Any, b_shape: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return a_shape[0] * a_shape[1] * b_shape[1] + a_shape[0] * b_shape[1]


def _mm(a_shape: Any, b_shape: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return a_shape[0] * a_shape[1] * b_shape[1]


def _bmm(a_shape: Any, b_shape: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return a_shape[0] * a_shape[1] * a_shape[2] * b_shape[2]


_COUNTERS = {
    torch.ops.aten.convolution: _convolution,
    torch.ops.aten._convolution: _convolution,
    torch.ops.aten.addmm: _addmm,
    torch.ops.aten.mm: _mm,
    torch.ops.aten.bmm: _bmm,
    torch.ops.aten.baddbmm: lambda bias, a, b, *args, **kwargs: _bmm(a, b),
}


def count(model: nn.Module, input_shape: Sequence[int], channels: int = 3) -> Complexity:
    """Count a model of mm, or any module that takes an image.

    The model runs in evaluation mode on the meta device, where shapes are computed and numbers are
    not; a model with operators that cannot run there is counted on the CPU.

    Args:
        model (nn.Module): It is moved to the meta device: do not use it afterwards.
        input_shape (Sequence[int]): (height, width) of the image.
        channels (int): Channels of the image. Defaults to 3.

    Raises:
        ValueError: If ``input_shape`` is illegal.
    """
    height, width = check_input_shape(input_shape)
    params = sum(parameter.numel() for parameter in model.parameters())
    model = model.eval()
    try:
        total = _run(model.to('meta'), torch.empty(1, channels, height, width, device='meta'))
    except (NotImplementedError, RuntimeError):
        model = model.to_empty(device='cpu')
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
        total = _run(model, torch.zeros(1, channels, height, width))
    return Complexity(params, total)


def _run(model: nn.Module, image: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_COUNTERS) as counter:
        if hasattr(model, 'data_preprocessor'):  # a model of mm: everything but losses and post-processing
            model(image, mode='tensor')
        else:
            model(image)
    return counter.get_total_flops()


def count_config(cfg: Any, input_shape: Sequence[int]) -> tuple[Complexity, Optional[Complexity]]:
    """Count the model of a config, and its backbone alone.

    Args:
        cfg (Config): A config of mm.
        input_shape (Sequence[int]): (height, width) of the image.

    Returns:
        tuple: Of the model, and of its backbone if it has one.

    Raises:
        ValueError: If ``input_shape`` is illegal or the config has no model.
    """
    from mmengine.registry import MODELS, init_default_scope
    if not cfg.get('model'):
        raise ValueError('the config has no model')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(copy.deepcopy(cfg.model))  # mm's detectors write into their config
    backbone = getattr(model, 'backbone', None)
    whole = count(model, input_shape)
    return whole, None if backbone is None else count(backbone, input_shape)


def complexity_table(targets: Sequence[str], shape: Optional[Sequence[int]] = None,
                     output_stride: Optional[int] = None, style: str = 'text',
                     progress: Optional[Callable[[Sequence], Iterable]] = None) -> str:
    """Parameters (M) and multiply-adds (G) of configs and architectures, a line each.

    Args:
        targets (Sequence[str]): Paths of mm configs; names, ``arch.json`` files or texts of
            architectures.
        shape (Sequence[int], optional): (height, width) of the image. Defaults to the
            ``input_shape`` in each config.
        output_stride (int, optional): Of architectures. Defaults to the architecture's own.
        style (str): As in :func:`render`. Defaults to 'text'.
        progress (Callable, optional): Iterates over the targets and shows how far it is.

    Raises:
        ValueError: If a target is neither, or there is no input size for it.
    """
    rows = []
    for target in (progress or iter)(targets):
        if target.endswith(('.py', '.yml', '.yaml')):
            cfg = _load_config(target)
            size = _input_shape(target, shape or cfg.get('input_shape'))
            whole, backbone = count_config(cfg, size)
            rows.append(CountedModel(target, size, whole))
            if backbone is not None:
                rows.append(CountedModel(f'- its backbone {cfg.model.backbone.type}', size, backbone))
        else:
            architecture = Architecture.create(target)
            size = _input_shape(target, shape)
            counted = Complexity(architecture.params(), architecture.madds(size, output_stride))
            rows.append(CountedModel(target if '[' not in target else 'architecture', size, counted))
    return render(rows, style)


def render(rows: Sequence[CountedModel], style: str = 'text') -> str:
    """A table of counted models; with columns of published figures if one of them has any.

    Args:
        rows (Sequence[CountedModel]): A line each.
        style (str): ``text``, ``markdown`` or ``json``: a list of objects. Defaults to 'text'.

    Raises:
        ValueError: If ``style`` is none of these.
    """
    if style == 'json':
        return json.dumps([row.to_dict() for row in rows], indent=2, ensure_ascii=False)
    formats = dict(text='plain', markdown='github')
    if style not in formats:
        raise ValueError(f'style={style!r} must be text, markdown or json')
    published = any(row.published is not None for row in rows)
    headers = ['model', 'input', 'params (M)', 'MAdds (G)']
    headers += ['paper (M)', 'difference', 'paper (G)', 'difference'] if published else []
    cells = []
    for row in rows:
        cells.append([row.name, f'{row.input_shape[0]}x{row.input_shape[1]}', f'{row.complexity.params / 1e6:.6f}',
                      f'{row.complexity.madds / 1e9:.4f}'])
        if published:
            differences = row.differences()
            cells[-1] += ['-'] * 4 if row.published is None or differences is None else [
                row.published[0], f'{differences[0]:+.1%}', row.published[1], f'{differences[1]:+.1%}']
    return tabulate(cells, headers, tablefmt=formats[style], disable_numparse=True,
                    colalign=('left', 'left') + ('right', ) * (len(headers) - 2))


def _input_shape(target: str, shape: Any) -> tuple[int, int]:
    if shape is None:
        raise ValueError(f'{target} does not say at which size to count: give --shape HEIGHT WIDTH, or put '
                         'input_shape = (height, width) into the config')
    return check_input_shape(tuple(shape))


def _load_config(path: str) -> Any:
    from mmengine.config import Config
    return Config.fromfile(path)
