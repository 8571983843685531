"""What hooks have in common that hold a model near a trained one: the teacher, and one more loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS
from torch import Tensor, nn

from fna_mm.checkpoints.whole_models import load_weights, read_weights
from fna_mm.checks import check_number

#: Name of the loss in the log.
LOSS = 'loss_distillation'
#: What the names of a backbone's weights begin with in the checkpoint of a model.
PREFIX = 'backbone.'


class DistillationHook(Hook):
    """Adds a loss that a teacher says to those of the model, while it trains.

    The teacher sees the same images, is not trained, and is no part of the model: not of its checkpoints either.

    Args:
        teacher (dict): Config section of the teacher.
        checkpoint (str): Path of its weights.
        weight (float): Weight of the loss.

    Raises:
        ValueError: If the weight is no positive number; before training, if the checkpoint does not fit the teacher.
        FileNotFoundError: Before training, if there is no such checkpoint.
        TypeError: Before training, if the model has no backbone.
    """

    def __init__(self, teacher: Mapping[str, Any], checkpoint: str, weight: float) -> None:
        self.name = type(self).__name__
        self.teacher, self.checkpoint = dict(teacher), checkpoint
        self.weight = check_number(f'weight of {self.name}', weight, above=0)
        self._handles: list[Any] = []
        self._loss: Any = None

    def before_train(self, runner: Any) -> None:
        """Build the teacher, and listen to the model."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not isinstance(getattr(model, 'backbone', None), nn.Module):
            raise TypeError(f'{self.name} needs a model with a backbone, not {type(model).__name__}')
        try:
            weights = read_weights(self.checkpoint)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{self.name}: checkpoint={self.checkpoint!r} of the teacher does not exist: give its path, or leave '
                'the hook out of custom_hooks') from error
        teacher = MODELS.build(dict(self.teacher))
        load_weights(teacher, self.weights_of_teacher(weights), f'the teacher of {self.name}', self.checkpoint)
        device = next(model.parameters()).device
        self._net = teacher.to(device).eval().requires_grad_(False)
        # Forward hooks also run below the wrapper for several processes, whose forward pass calls the model's.
        self._handles = [*self.listen(model, device), model.register_forward_hook(self._add, with_kwargs=True)]

    def weights_of_teacher(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The teacher's weights of those of a checkpoint.

        Args:
            weights (dict[str, Tensor]): The weights of the checkpoint.
        """
        return weights

    def listen(self, model: nn.Module, device: torch.device) -> list[Any]:
        """Register the forward hooks that compare the model with the teacher.

        Args:
            model (nn.Module): The model, without its wrapper.
            device (torch.device): Its device.

        Returns:
            list: Their handles.
        """
        raise NotImplementedError

    def after_train(self, runner: Any) -> None:
        """Let go of model and teacher."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._loss, self._net = [], None, None

    def weighted(self, loss: Tensor, model: Any, losses: Mapping[str, Any]) -> Tensor:
        """The teacher's loss as it is added to those of the model; a scalar.

        Args:
            loss (Tensor): What the teacher says, a scalar.
            model (nn.Module): The model, without its wrapper.
            losses (Mapping): What the model says, as its forward pass returns it.
        """
        return self.weight * loss

    def _add(self, model: nn.Module, inputs: tuple[Any, ...], options: Mapping[str, Any], losses: Any) -> Any:
        loss, self._loss = self._loss, None
        if loss is None or options.get('mode') != 'loss':
            return losses
        # Another hook of this kind may have added its own before.
        own = {name: value for name, value in losses.items() if name != LOSS}
        return {**losses, LOSS: self.weighted(loss, model, own) + losses.get(LOSS, 0.)}


def error_of_kinds(outputs: Sequence[Sequence[Tensor]], wanted: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean over kinds of the squared difference of all maps, as a share of the wanted maps' variance; a scalar.

    Args:
        outputs (Sequence[Sequence[Tensor]]): Of every kind some maps of one network, each (N, C, H, W).
        wanted (Sequence[Sequence[Tensor]]): Maps of the other one, of the same shapes.
    """
    errors = []
    for own, others in zip(outputs, wanted):
        pairs = [(one.float(), other.float()) for one, other in zip(own, others)]
        error = torch.stack([(one - other).square().sum() for one, other in pairs]).sum()
        variance = torch.stack([(other - other.mean(dim=(0, 2, 3), keepdim=True)).square().sum()
                                for _, other in pairs]).sum()
        # Maps that are the same everywhere have no variance.
        errors.append(error / variance.clamp(min=torch.finfo(torch.float32).eps))
    return torch.stack(errors).mean()


def is_trained(module: nn.Module) -> bool:
    """Whether a module runs in a training step: not in an evaluation, nor in a calibration of BN.

    Args:
        module (nn.Module): The module.
    """
    return module.training and torch.is_grad_enabled()
