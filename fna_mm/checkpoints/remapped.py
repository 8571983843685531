"""Writing a checkpoint of remapped weights, which mm loads like any other checkpoint."""

import json
from typing import Optional

from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.checkpoints.searched import ARCHITECTURE_META, read_architecture
from fna_mm.checkpoints.whole_files import check_outputs, checkpoint_bytes, write_whole
from fna_mm.families.layouts import Key
from fna_mm.remapping.initializer import ParameterRemapping

#: Prefix of the backbone's keys in mm's detectors and segmentors.
_PREFIX = 'backbone.'


def write_remapped_checkpoint(seed: str, architecture: str, out: str, width: str = 'first', kernel: str = 'center',
                              report: Optional[str] = None) -> tuple[str, str]:
    """Remap a seed onto an architecture and write the weights for ``load_from`` or ``Pretrained``.

    The file holds ``state_dict`` and ``meta``. ``state_dict`` has the backbone's tensors with
    ``backbone.`` before their names, with the last 1x1 convolution (``out_indices`` 7) if the seed has
    one. ``meta`` has the architecture and the settings of the remapping. If anything fails, no file is
    written or changed.

    Args:
        seed (str): As ``checkpoint`` of :class:`ParameterRemapping`.
        architecture (str): Anything that :func:`read_architecture` takes.
        out (str): Path of the new checkpoint.
        width (str): As in :class:`ParameterRemapping`. Defaults to 'first'.
        kernel (str): As in :class:`ParameterRemapping`. Defaults to 'center'.
        report (str, optional): Path of a JSON file that says where every tensor came from.
            Defaults to None: no such file.

    Returns:
        tuple: The table that says where every tensor came from, and the text of the JSON file ``report``.

    Raises:
        ValueError: If the seed cannot be used or does not fit, or a path would overwrite an input.
        FileNotFoundError: If there is no such seed or architecture.
        OSError: If a file cannot be written.
    """
    remapping = ParameterRemapping(seed, width, kernel)
    paths = [path for path in (out, report) if path is not None]
    check_outputs(paths, (seed, architecture))
    arch = read_architecture(architecture)
    found = remapping.read_seed(arch.family)
    last = found.tensors.get(Key(0, 0, 'last', 'conv', 'weight'))
    num_stages = len(arch.stages)
    net = FNAChildNet(arch, (num_stages - (last is None), ), arch.total_stride,
                      head_channels=None if last is None else len(last))
    result = remapping.apply(found, net)
    text = arch.to_text().replace('\n', ' ')
    meta = dict({ARCHITECTURE_META: text}, made_by='fna_mm remap', seed=seed, seed_layout=found.layout, width=width,
                kernel=kernel)
    state = {_PREFIX + key: value for key, value in net.state_dict().items()}
    files = {out: checkpoint_bytes(dict(meta=meta, state_dict=state))}
    values = json.dumps(dict(seed=seed, arch=text, **result.to_dict()), indent=1, ensure_ascii=False) + '\n'
    if report is not None:
        files[report] = values.encode()
    write_whole(files)
    return f'{seed} ({found.layout} layout) → {out}, width={width}, kernel={kernel}\n{result.table()}', values
