"""A trained model's network as an ONNX file, checked in ONNX Runtime before it is written."""

import copy
import inspect
import io
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from fna_mm import families
from fna_mm.architecture import Architecture
from fna_mm.checkpoints.whole_files import check_outputs, write_whole
from fna_mm.checkpoints.whole_models import build_trained
from fna_mm.checks import check_integer
from fna_mm.configs import CHILD
from fna_mm.cost.complexity import image_size
from fna_mm.export.network import ExportedNetwork, named_outputs
from fna_mm.export.onnx_timing import milliseconds, open_session
from fna_mm.export.pooling import any_pooling
from fna_mm.sections import type_of

#: Largest difference from PyTorch, absolute and relative.
TOLERANCE = 1e-4
#: Oldest version of the operators that all networks here can be written in.
LEAST_OPSET, OPSET = 11, 17
#: Another image size that a file of dynamic size is checked at, beyond the first one by this much.
_FURTHER = 64
INPUT = 'image'


@dataclass(frozen=True)
class ExportedFile:
    """What was written.

    Args:
        path (str): The file.
        outputs (dict[str, tuple[int, ...]]): Names and shapes of the outputs.
        difference (float): Largest absolute difference from PyTorch.
        milliseconds (float): Median time of one image in ONNX Runtime.
        seed_milliseconds (float, optional): The same with the family's seed as the backbone; None if the backbone is no
            child.
        shape (tuple[int, int]): (height, width) of the image.
    """

    path: str
    outputs: dict[str, tuple[int, ...]]
    difference: float
    milliseconds: float
    seed_milliseconds: Optional[float]
    shape: tuple[int, int]


def export_onnx(config: str, checkpoint: str, out: str, shape: Optional[Sequence[int]] = None, dynamic: bool = False,
                opset: int = OPSET, threads: int = 1) -> ExportedFile:
    """Write the network of a trained model as an ONNX file.

    Its input is an image as the model's data preprocessor gives it: (1, 3, height, width), float32, normalised. The
    outputs are what the head returns, without post-processing; docs/export.md shows how they become boxes. The file's
    metadata says mean, standard deviation, order of colours, padding and classes.

    Args:
        config (str): Path of the model's config.
        checkpoint (str): Path of its checkpoint.
        out (str): Path of the file, ending in ``.onnx``.
        shape (Sequence[int], optional): (height, width) of the image. Defaults to None: that of the test pipeline.
        dynamic (bool): Whether the file takes any height and width. Defaults to False.
        opset (int): Version of ONNX's operators. Defaults to 17.
        threads (int): Threads of the time measurement. Defaults to 1.

    Raises:
        FileNotFoundError: If the config or the checkpoint does not exist.
        ImportError: If onnx or onnxruntime is missing.
        ValueError: If something does not fit, the network cannot be written, or computes something else in ONNX
            Runtime; no file is written then.
    """
    _check_out(out, config, checkpoint)
    check_packages('an export')
    if not check_integer('opset', opset) >= LEAST_OPSET:
        raise ValueError(f'opset={opset} is too low: operators that these networks need came with {LEAST_OPSET}')
    check_integer('threads', threads)
    cfg = Config.fromfile(config)
    height, width = image_size(cfg, config, shape)
    model = build_trained(cfg, config, checkpoint)
    content, outputs, difference = _checked_file(model, config, (height, width), dynamic, opset)
    content = _with_metadata(content, _metadata(cfg, model, (height, width), dynamic, config))
    sessions = dict(own=open_session(content, threads))
    if (seed := _seed_model(cfg)) is not None:
        sessions['seed'] = open_session(_checked_file(seed, config, (height, width), dynamic, opset)[0], threads)
    times = milliseconds(sessions, _image((height, width)).numpy())
    write_whole({out: content})
    return ExportedFile(out, {name: tuple(tensor.shape) for name, tensor in outputs.items()}, difference, times['own'],
                        times.get('seed'), (height, width))


def _check_out(out: str, *inputs: str) -> None:
    if not out.endswith('.onnx'):
        raise ValueError(f'out={out!r} must end in .onnx')
    check_outputs([out], inputs)


def check_packages(what: str) -> None:
    """Check that the packages of ONNX are installed.

    Args:
        what (str): What needs them, for the message.

    Raises:
        ImportError: If one is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ImportError(f'{what} needs the package {error.name}: pip install "fna-mm[onnx]"') from error


def _image(size: tuple[int, int]) -> Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def _checked_file(model: nn.Module, config: str, size: tuple[int, int], dynamic: bool, opset: int
                  ) -> tuple[bytes, dict[str, Tensor], float]:
    """The ONNX file, what the network returns for an image, and how far ONNX Runtime is from that."""
    network, image = ExportedNetwork(model), _image(size)
    try:
        with torch.no_grad():
            outputs = named_outputs(model(image, None, mode='tensor'))
    except (TypeError, AttributeError, AssertionError) as error:
        raise ValueError(f'the model of {config}, {type(model).__name__}, cannot be exported: its network needs more '
                         f'than an image ({str(error) or type(error).__name__})') from error
    axes = {INPUT: {2: 'height', 3: 'width'}} if dynamic else None
    try:
        content = written_network(network, image, opset, output_names=list(outputs), dynamic_axes=axes)
    except Exception as error:  # torch raises many types
        raise ValueError(f'the model of {config}, {type(model).__name__}, cannot be written in ONNX with opset '
                         f'{opset}: {str(error).splitlines()[0]}') from error
    session = open_session(content)
    difference = 0.
    for other in ([size, (size[0] + _FURTHER, size[1] + _FURTHER)] if dynamic else [size]):
        difference = max(difference, _difference(session, network, _image(other), list(outputs)))
    return content, outputs, difference


def written_network(network: nn.Module, image: Tensor, opset: int = OPSET, **arguments: Any) -> bytes:
    """Write a module as an ONNX file, whose input has the name ``image``.

    Args:
        network (nn.Module): The module, in evaluation mode.
        image (Tensor): Its input.
        opset (int): Version of ONNX's operators. Defaults to 17.
        arguments (Any): Further arguments of ``torch.onnx.export``.
    """
    content: Any = io.BytesIO()  # which its annotation does not know
    # The newer exporter (dynamo=True) cannot trace mmengine's BaseModule; the argument came with PyTorch 2.5.
    old: dict[str, Any] = dict(dynamo=False) if 'dynamo' in inspect.signature(torch.onnx.export).parameters else {}
    with warnings.catch_warnings(), any_pooling(opset):
        warnings.simplefilter('ignore')  # of the tracer, on shapes that do not change
        torch.onnx.export(network, (image, ), content, input_names=[INPUT], opset_version=opset, **arguments, **old)
    return content.getvalue()


def _difference(session: Any, network: nn.Module, image: Tensor, names: Sequence[str]) -> float:
    with torch.no_grad():
        wanted = [tensor.numpy() for tensor in network(image)]
    found = session.run(None, {INPUT: image.numpy()})
    for name, one, two in zip(names, wanted, found):
        if one.shape != two.shape or not np.allclose(one, two, rtol=TOLERANCE, atol=TOLERANCE):
            apart = (f'{np.abs(one - two).max():.2g} apart' if one.shape == two.shape else
                     f'of the shape {two.shape} instead of {one.shape}')
            raise ValueError(f'the output {name} in ONNX Runtime is not what PyTorch computes at '
                             f'{tuple(image.shape[2:])}: {apart}')
    return max(float(np.abs(one - two).max()) for one, two in zip(wanted, found))


def _metadata(cfg: Any, model: Any, size: tuple[int, int], dynamic: bool, config: str) -> dict[str, Any]:
    """What a program has to know of the file, as plain values."""
    preprocessor = cfg.model.get('data_preprocessor') or {}
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    classes = (dataset.get('metainfo') or {}).get('classes') or ()
    return dict(
        made_by='fna_mm export', config=os.path.basename(config), model=type(model).__name__,
        input_shape=None if dynamic else list(size), mean=list(preprocessor.get('mean') or (0., 0., 0.)),
        std=list(preprocessor.get('std') or (1., 1., 1.)), rgb=bool(preprocessor.get('bgr_to_rgb', False)),
        pad_size_divisor=preprocessor.get('pad_size_divisor', 1), classes=list(classes))


def _with_metadata(content: bytes, values: Mapping[str, Any]) -> bytes:
    import onnx
    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in values.items()})
    return model.SerializeToString()


def _seed_of(architecture: Architecture) -> Optional[Architecture]:
    """The seed with the channels of an architecture, and as deep as it if there is one; None if there is none."""
    seeds = [seed for seed in map(Architecture.create, families.family(architecture.family).seeds)
             if [stage.out_channels for stage in seed.stages] == [stage.out_channels for stage in architecture.stages]]
    deep = [seed for seed in seeds
            if all(len(own.layers) <= len(its.layers) for own, its in zip(architecture.stages, seed.stages))]
    return next(iter(deep or seeds[-1:]), None)


def _seed_model(cfg: Any) -> Any:
    """The same model with its family's seed as the backbone and random weights; None if the backbone is no child."""
    section = copy.deepcopy(cfg.model)
    backbone = section.get('backbone') or {}
    if type_of(backbone) != CHILD:
        return None
    architecture = Architecture.create(backbone['arch'])
    seed = _seed_of(architecture)
    if seed is None:
        return None  # of another width: neck and head would not fit
    backbone['arch'] = seed.to_text().replace('\n', ' ')
    backbone.pop('init_cfg', None)
    return MODELS.build(section).eval()
