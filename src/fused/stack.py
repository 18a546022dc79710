"""Networks of one architecture, computed as one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy


class Stack:
    """R networks, whose parameters of one name lie in one tensor (R, ...).

    Each network stays an ordinary module, with an ordinary optimizer on it: its parameters become parts of the stacks,
    and get parts of the stacks' gradients. The code of the first network runs for all, through `torch.func.vmap`.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = networks
        self.parameters: dict[str, Tensor] = {}
        self._parts: dict[str, list[nn.Parameter]] = {}
        for name, first in networks[0].named_parameters():
            parts = [network.get_parameter(name) for network in networks]
            stacked = torch.stack([part.detach() for part in parts])
            for parameter, part in zip(parts, stacked, strict=True):
                parameter.data = part
            self.parameters[name], self._parts[name] = stacked.requires_grad_(first.requires_grad), parts

    def losses(self, images: Tensor, labels: Tensor, reduction: str = "none") -> tuple[Tensor, Tensor]:
        """Losses (R, B), reduced if asked, and logits (R, B, 10) of the same images (B, 1, 28, 28) for all."""

        def of_one(parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            logits = functional_call(self.networks[0], parameters, (images,))
            return cross_entropy(logits, labels, reduction=reduction), logits

        return vmap(of_one)(self.parameters)

    def differentiate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean losses (R,) and logits (R, B, 10); the networks' parameters get their gradients."""
        losses, logits = self.losses(images, labels, reduction="mean")
        learning = {name: stacked for name, stacked in self.parameters.items() if stacked.requires_grad}
        gradients = torch.autograd.grad(losses.sum(), list(learning.values()), allow_unused=True)
        for name, gradient in zip(learning, gradients, strict=True):
            # Fused optimizers take it that a parameter and its gradient have the same strides.
            each = [None] * len(self.networks) if gradient is None else gradient.contiguous().unbind()
            for parameter, part in zip(self._parts[name], each, strict=True):
                parameter.grad = part
        return losses.detach(), logits.detach()
