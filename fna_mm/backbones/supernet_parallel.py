"""DDP for a model whose weight steps use one path of many."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch.autograd import Variable

from fna_mm.backbones.fna_supernet import find_supernet


@MODEL_WRAPPERS.register_module()
class FNADistributedDataParallel(MMDistributedDataParallel):
    """DDP that averages the gradients of the sampled path, and of nothing that no rank used.

    ``find_unused_parameters=True`` would search the graph of every step for what has no gradient and
    still send zeros in its place, of a supernet six times as many as the path has. All ranks run the
    same path, so what must be averaged is known: DDP keeps the parameters that every path uses, and
    the gradients of the candidates, of all paths since the last step under gradient accumulation, are
    averaged in one all-reduce at the end of the backward pass.

    In a config: ``model_wrapper_cfg = dict(type='FNADistributedDataParallel')``; without a launcher it
    has no effect.

    Args:
        module (nn.Module): The model with the one ``FNASuperNet`` in it.
        broadcast_buffers (bool): As in DDP; BN statistics stay each rank's own unless this is True.
            Defaults to False.
        kwargs: Of ``MMDistributedDataParallel``. ``device_ids`` is dropped for a model on the CPU.

    Raises:
        ValueError: If the model has no supernet, or several.
    """

    def __init__(self, module: nn.Module, broadcast_buffers: bool = False, **kwargs: Any) -> None:
        candidates = [parameter for parameter in find_supernet(module).candidate_parameters()
                      if parameter.requires_grad]
        if next(module.parameters()).device.type == 'cpu':
            kwargs['device_ids'] = None  # mm passes the local rank, which DDP refuses here
        # The reducer takes what requires gradients at this moment; weights are broadcast all the same.
        for parameter in candidates:
            parameter.requires_grad_(False)
        try:
            super().__init__(module, broadcast_buffers=broadcast_buffers, **kwargs)
        finally:
            for parameter in candidates:
                parameter.requires_grad_(True)
        self._averages = False
        self._queued = False
        for parameter in candidates:
            parameter.register_post_accumulate_grad_hook(self._queue)
        self._candidates: Sequence[Tensor] = candidates

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Run the model; its backward pass averages gradients unless ``no_sync`` holds now."""
        # As DDP: the forward pass decides, because mm leaves no_sync before the backward pass.
        self._averages = self.require_backward_grad_sync and torch.is_grad_enabled()
        self._queued = False  # of a backward pass that raised
        return super().forward(*inputs, **kwargs)

    def _queue(self, parameter: Tensor) -> None:
        """Once in a backward pass: average at its end, when DDP has sent all of its own on every rank."""
        if self._averages and not self._queued:
            self._queued = True
            Variable._execution_engine.queue_callback(self._average)

    def _average(self) -> None:
        self._queued = False
        gradients = [parameter.grad for parameter in self._candidates if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat, group=self.process_group)
        flat /= torch.distributed.get_world_size(self.process_group)
        for gradient, averaged in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(averaged.view_as(gradient))
