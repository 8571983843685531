"""DDP for a model whose weight steps use one path of many."""

from collections.abc import Sequence
from typing import Any, Union

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.model.utils import detect_anomalous_params
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn

from fna_mm.backbones.fna_supernet import find_supernet


@MODEL_WRAPPERS.register_module()
class FNADistributedDataParallel(MMDistributedDataParallel):
    """DDP that averages the gradients of the sampled path, and of nothing that no rank used.

    ``find_unused_parameters=True`` would search the graph of every step for what has no gradient and
    still send zeros in its place, of a supernet six times as many as the path has. All ranks run the
    same path, so what must be averaged is known: DDP keeps the parameters that every path uses, and
    :meth:`train_step` averages the gradients of the candidates in one all-reduce before the optimizer's
    step. Under gradient accumulation these are the gradients of all paths since the last step.

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
        self._candidates: Sequence[Tensor] = candidates

    def train_step(self, data: Union[dict, tuple, list], optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """A weight step, as ``MMDistributedDataParallel`` makes it, with averaged gradients of the candidates.

        Args:
            data (dict | tuple | list): A batch.
            optim_wrapper (OptimWrapper): Of the weights.

        Returns:
            dict[str, Tensor]: What mm logs of the losses.
        """
        with optim_wrapper.optim_context(self):
            losses = self._run_forward(self.module.data_preprocessor(data, training=True), mode='loss')
        loss, log_vars = self.module.parse_losses(losses)
        # What OptimWrapper.update_params does, with the ranks' mean between backward and step: there a gradient
        # scaler looks for what is not finite, and gradients are clipped, alike on all ranks.
        optim_wrapper.backward(optim_wrapper.scale_loss(loss))
        if optim_wrapper.should_update():
            self._average_candidates()
            optim_wrapper.step()
            optim_wrapper.zero_grad()
        if self.detect_anomalous_params:
            detect_anomalous_params(loss, model=self)
        return log_vars

    def _average_candidates(self) -> None:
        gradients = [parameter.grad for parameter in self._candidates if parameter.grad is not None]
        if not gradients:  # all candidates are frozen
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat, group=self.process_group)
        flat /= torch.distributed.get_world_size(self.process_group)
        for gradient, averaged in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(averaged.view_as(gradient))
