"""Parameters and multiply-adds of a whole mm model, counted by running it on tensors without data."""

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch
from mmengine.structures import BaseDataElement
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fna_mm.architecture import Architecture
from fna_mm.checks import check_input_shape
from fna_mm.sections import leaves_of, type_of


@dataclass(frozen=True)
class Complexity:
    """The cost of a network.

    Args:
        params (int): Number of parameters, without architecture parameters.
        madds (int): Multiply-adds of convolutions and linear layers for one image, each counted once; a bias
            counts one for every output.
    """

    params: int
    madds: int


@dataclass(frozen=True)
class CountedModel:
    """One line of a table of counted models.

    Args:
        name (str): Name of the counted model.
        input_shape (tuple[int, int]): (height, width) of the image.
        complexity (Complexity): Parameters and multiply-adds of the model.
        published (tuple[str, str], optional): Published parameters in M and multiply-adds in G, with the
            digits of the publication. Defaults to None.
    """

    name: str
    input_shape: tuple[int, int]
    complexity: Complexity
    published: Optional[tuple[str, str]] = None

    def differences(self) -> Optional[tuple[float, float]]:
        """Relative differences of parameters and multiply-adds from the published figures; 0.01 is 1 % above."""
        if self.published is None:
            return None
        params, madds = (float(text) for text in self.published)
        return self.complexity.params / 1e6 / params - 1, self.complexity.madds / 1e9 / madds - 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: parameters in M, multiply-adds in G, relative differences."""
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


@torch.no_grad()
def count(model: nn.Module, input_shape: Sequence[int], channels: int = 3) -> Complexity:
    """Count the parameters and multiply-adds of an mm model, or of any module that takes an image.

    The model runs in evaluation mode on the meta device, which computes shapes but no numbers. A model
    with operators that cannot run there is counted on the CPU.

    Args:
        model (nn.Module): The model. It is moved to the meta device: do not use it afterwards.
        input_shape (Sequence[int]): (height, width) of the image.
        channels (int): Channels of the image. Defaults to 3.

    Raises:
        ValueError: If ``input_shape`` is illegal.
    """
    size = check_input_shape(input_shape)
    params = sum(parameter.numel() for parameter in model.parameters())
    return Complexity(params, _counter(model, size, channels).get_total_flops())


def count_leaves(model: nn.Module, input_shape: Sequence[int], channels: int = 3) -> dict[str, Complexity]:
    """Count every module without inner modules that an image passes: path → its parameters and multiply-adds.

    Args:
        model (nn.Module): As in :func:`count`.
        input_shape (Sequence[int]): (height, width) of the image.
        channels (int): Channels of the image. Defaults to 3.

    Raises:
        ValueError: If ``input_shape`` is illegal.
    """
    size = check_input_shape(input_shape)
    leaves = {path: sum(parameter.numel() for parameter in module.parameters())
              for path, module in model.named_modules() if path and not any(module.children())}
    # The counter's names begin with the model's class.
    counted = {name.partition('.')[2]: sum(operators.values())
               for name, operators in _counter(model, size, channels).get_flop_counts().items()}
    return {path: Complexity(params, counted.get(path, 0)) for path, params in leaves.items()}


def _counter(model: nn.Module, input_shape: tuple[int, int], channels: int) -> FlopCounterMode:
    """Run a model on an image without data; return the counter of its operators."""
    model.eval()  # mm's ResNet returns None
    model.requires_grad_(False)
    try:
        return _run(model.to('meta'), torch.empty(1, channels, *input_shape, device='meta'))
    except (NotImplementedError, RuntimeError):
        model.to_empty(device='cpu')
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()
        return _run(model, torch.zeros(1, channels, *input_shape))


def _run(model: nn.Module, image: Tensor) -> FlopCounterMode:
    with FlopCounterMode(display=False, custom_mapping=_COUNTERS) as counter:
        if hasattr(model, 'data_preprocessor'):  # an mm model; this mode runs neither losses nor post-processing
            model(image, [_sample(image)], mode='tensor')
        else:
            model(image)
    return counter


def _sample(image: Tensor) -> BaseDataElement:
    """What detectors with two stages or a transformer want to know of an image."""
    size = tuple(image.shape[-2:])
    return BaseDataElement(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size,
                                         scale_factor=(1., 1.), img_id=0))


def count_config(cfg: Any, input_shape: Sequence[int]) -> tuple[Complexity, Optional[Complexity]]:
    """Count the model of a config, and its backbone alone.

    Args:
        cfg (Config): An mm config.
        input_shape (Sequence[int]): (height, width) of the image.

    Returns:
        tuple: The complexity of the model, and of its backbone if it has one.

    Raises:
        ValueError: If ``input_shape`` is illegal or the config has no model.
    """
    from mmengine.registry import MODELS, init_default_scope
    if not cfg.get('model'):
        raise ValueError('the config has no model')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(copy.deepcopy(cfg.model))  # mmdet's detectors change their config
    backbone = getattr(model, 'backbone', None)
    whole = count(model, input_shape)
    return whole, None if backbone is None else count(backbone, input_shape)


def complexity_table(targets: Sequence[str], shape: Optional[Sequence[int]] = None,
                     output_stride: Optional[int] = None, style: str = 'text',
                     progress: Optional[Callable[[Sequence], Iterable]] = None) -> str:
    """Make a table of parameters (M) and multiply-adds (G), with one line for each config or architecture.

    Args:
        targets (Sequence[str]): Paths of mm configs; names, ``arch.json`` files or texts of
            architectures.
        shape (Sequence[int], optional): (height, width) of the image. Defaults to None: the ``input_shape`` in each
            config, or the size to which its test pipeline resizes.
        output_stride (int, optional): Output stride of architectures. Defaults to the architecture's own.
        style (str): As in :func:`render`. Defaults to 'text'.
        progress (Callable, optional): Iterates over the targets and shows the progress.

    Raises:
        ValueError: If a target is neither a config nor an architecture, or there is no input size for it.
    """
    rows = []
    for target in (progress or iter)(targets):
        if target.endswith(('.py', '.yml', '.yaml')):
            cfg = _load_config(target)
            size = _input_shape(target, shape or cfg.get('input_shape') or evaluation_size(cfg))
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
    """Format a table of counted models, with columns for published figures if a row has them.

    Args:
        rows (Sequence[CountedModel]): The lines of the table.
        style (str): ``text``, ``markdown`` or ``json``, which is a list of objects. Defaults to 'text'.

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


def evaluation_size(cfg: Any) -> Optional[tuple[int, int]]:
    """The (height, width) to which a config's test pipeline resizes, padded as the model pads; None if it does not say.

    Args:
        cfg (Config): An mm config.
    """
    divisor = (cfg.model.get('data_preprocessor') or {}).get('pad_size_divisor', 1)
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    for section in leaves_of(loader.get('dataset') or {}):
        for transform in section.get('pipeline') or ():
            scale = transform.get('scale')
            if type_of(transform) == 'Resize' and isinstance(scale, (tuple, list)):
                height, width = (-(-int(side) // divisor) * divisor for side in scale[::-1])  # mm's are (width, height)
                return height, width
    return None


def image_size(cfg: Any, config: str, shape: Optional[Sequence[int]] = None) -> tuple[int, int]:
    """The (height, width) of the images that a config's network is exported or timed with.

    Args:
        cfg (Config): The config.
        config (str): Its path, for the message.
        shape (Sequence[int], optional): What the user asks for. Defaults to None: ``input_shape`` of the config, or the
            size to which its test pipeline resizes.

    Raises:
        ValueError: If it is illegal, or not known.
    """
    size = shape or cfg.get('input_shape') or (evaluation_size(cfg) if cfg.get('model') else None)
    if size is None:
        raise ValueError(f'{config} does not say the size of an image: give --shape HEIGHT WIDTH')
    return check_input_shape(tuple(size))


def _input_shape(target: str, shape: Any) -> tuple[int, int]:
    if shape is None:
        raise ValueError(f'{target} does not say at which size to count: give --shape HEIGHT WIDTH, or put '
                         'input_shape = (height, width) into the config')
    return check_input_shape(tuple(shape))


def _load_config(path: str) -> Any:
    from mmengine.config import Config
    return Config.fromfile(path)
