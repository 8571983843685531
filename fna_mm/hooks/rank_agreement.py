"""A check that all processes of a search hold the same architecture."""

import hashlib
from collections import Counter
from typing import Any

from mmengine.dist import all_gather_object
from torch import Tensor


def digest(value: Any) -> str:
    """A digest of tensors and plain values in nested dicts and lists; any changed bit changes it."""
    sha = hashlib.sha256()

    def feed(node: Any) -> None:
        if isinstance(node, Tensor):
            sha.update(str((node.dtype, tuple(node.shape))).encode())
            sha.update(node.detach().cpu().contiguous().numpy().tobytes())
        elif isinstance(node, dict):
            for key in sorted(node, key=str):
                sha.update(str(key).encode())
                feed(node[key])
        elif isinstance(node, (list, tuple)):
            for item in node:
                feed(item)
        else:
            sha.update(repr(node).encode())

    feed(value)
    return sha.hexdigest()


def check_ranks_agree(state: Any, what: str) -> None:
    """Check that a value is the same on all ranks; every rank must call this function.

    Args:
        state (Any): The value: tensors and plain values in nested dicts and lists.
        what (str): Name of the value in the error; a plural.

    Raises:
        RuntimeError: On every rank, if one rank holds another value than most ranks.
    """
    digests = all_gather_object(digest(state))
    common = Counter(digests).most_common(1)[0][0]
    others = [rank for rank, own in enumerate(digests) if own != common]
    if others:
        raise RuntimeError(f'{what} of rank {", ".join(map(str, others))} differ from those of the other '
                           f'{len(digests) - len(others)} of {len(digests)} ranks: the ranks no longer run the same '
                           'search. Resume from the last checkpoint, which was written before that, and look for what '
                           'this rank does otherwise (its data, its device, an error that was caught)')
