"""Networks of one architecture, vectorized."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy


class Stack:
    """R networks; parameters of the same name are stored in one tensor (R, ...).

    Each network stays an ordinary module with an ordinary optimizer: its parameters and their gradients become views of
    the stacks. `torch.func.vmap` runs the first network's code for all.
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

    def are_views(self) -> list[bool]:
        """Return for each network whether all its parameters still are views of the stacks."""
        return [
            all(
                self._parts[name][number].data_ptr() == stacked[number].data_ptr()
                for name, stacked in self.parameters.items()
            )
            for number in range(len(self.networks))
        ]

    def losses(self, images: Tensor, labels: Tensor, reduction: str = "none") -> tuple[Tensor, Tensor]:
        """Return losses (R, B), or (R,) if reduced, and logits (R, B, K) on images (B, C, H, W) shared by all."""

        def of_one(parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            logits = functional_call(self.networks[0], parameters, (images,))
            return cross_entropy(logits, labels, reduction=reduction), logits

        return vmap(of_one)(self.parameters)

    def differentiate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean losses (R,) and logits (R, B, K), and set the gradients of the networks' parameters."""
        losses, logits = self.losses(images, labels, reduction="mean")
        learning = {name: stacked for name, stacked in self.parameters.items() if stacked.requires_grad}
        gradients = torch.autograd.grad(losses.sum(), list(learning.values()), allow_unused=True)
        for name, gradient in zip(learning, gradients, strict=True):
            # Fused optimizers assume that a parameter and its gradient have the same strides.
            each = [None] * len(self.networks) if gradient is None else gradient.contiguous().unbind()
            for parameter, part in zip(self._parts[name], each, strict=True):
                parameter.grad = part
        return losses.detach(), logits.detach()
