"""Training of networks that are a chain of layers: a block of minibatches in one native call, without autograd."""

import ctypes
import math
import re
from collections.abc import Sequence
from ctypes import byref, c_int64, c_void_p
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from src.native import convolution
from src.native.build import backend, in_plain_eager, library, supports
from src.native.gather import Pixels
from src.native.threads import THREADS
from src.native.update import NO_UPDATE, Update

Layer = nn.Conv2d | nn.Linear
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


class _Linear(ctypes.Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("weight", "bias", "of_weight", "of_bias", "output")),
        *((name, c_int64) for name in ("inputs", "outputs")),
    ]


class _Convolution(ctypes.Structure):
    _fields_ = [
        ("shape", convolution.Shape),
        *((name, c_void_p) for name in ("weight", "bias", "of_weight", "of_bias")),
    ]


class _Network(ctypes.Structure):
    _fields_ = [
        ("convolutions", c_void_p), ("number_of_convolutions", c_int64),
        ("layers", c_void_p), ("number_of_layers", c_int64),
        ("chunk", c_int64), ("threads", c_int64),
    ]  # fmt: skip


class _Minibatches(ctypes.Structure):
    _fields_ = [
        ("images", c_void_p), ("channels", c_int64), ("size", c_int64),
        *((name, c_void_p) for name in ("mean", "std", "labels", "indices", "sizes")),
        ("number", c_int64), ("largest", c_int64),
    ]  # fmt: skip


def chain_of(model: nn.Module, data: Pixels) -> "Chain | None":
    """Return the chain of a network that the native code can train on this data, or None if autograd is needed."""
    chain, _ = _chain_or_reason(model, data)
    return chain


def why_autograd(model: nn.Module, data: Pixels) -> str:
    """Return the reason why a network needs autograd, in a few words; empty if the native code can train it."""
    _, reason = _chain_or_reason(model, data)
    return reason


def _chain_or_reason(model: nn.Module, data: Pixels) -> "tuple[Chain, str] | tuple[None, str]":
    layers = _layers(model)
    parameters = [layer._parameters.get(name) for layer in layers for name in ("weight", "bias")]
    plain = [parameter for parameter in parameters if parameter is not None and _is_plain(parameter)]
    reason = _obstacle(model, data, len(parameters), plain)
    return (None, reason) if reason else (Chain(layers, plain), "")


def _obstacle(model: nn.Module, data: Pixels, number: int, plain: Sequence[nn.Parameter]) -> str:
    """Return the first reason against the native code, which needs all of the `number` parameters plain and distinct.

    Hooks on autograd's graph, such as `register_multi_grad_hook`, are not seen.
    """
    if number == 0:
        return f"{type(model).__name__} is not a chain of LeNet's and the MLP's layers"
    if len(set(map(id, plain))) < number:
        return "parameters are frozen, shared, computed or have hooks"
    if any("forward" in vars(each) or any(getattr(each, hook) for hook in HOOKS) for each in model.modules()):
        return "a layer has hooks or a forward of its own"
    if torch.get_num_threads() != 1:
        return f"threads={torch.get_num_threads()}"
    if not in_plain_eager() or _has_any_global_hook() or torch.is_anomaly_enabled():
        return "a transform, a compiler, autocast, a global hook or anomaly detection is active"
    if not supports(data.mean, data.std, *plain):
        return _unsupported(data, plain)
    plain_data = (data.images.dtype, data.labels.dtype) == (torch.uint8, torch.int64) and data.labels.is_contiguous()
    if not (plain_data and data.images.is_contiguous() and _are_classes(data.labels, len(plain[-1]))):
        return "the images or labels are not plain"
    return ""


def _unsupported(data: Pixels, plain: Sequence[nn.Parameter]) -> str:
    device = data.mean.device.type
    if device != "cpu":
        return f"it is trained on {device}"
    kinds = {str(each.dtype).removeprefix("torch.") for each in (data.mean, data.std, *plain)} - {"float32"}
    return f"numbers are {', '.join(sorted(kinds))}" if kinds else backend().removeprefix("torch: ")


class Chain:
    """Convolution blocks, then linear layers with ReLU between them, and their weights and biases in turn."""

    def __init__(self, layers: Sequence[Layer], parameters: Sequence[nn.Parameter]) -> None:
        self.layers, self.parameters = layers, parameters

    def train(self, data: Pixels, order: Sequence[Tensor], update: Update | None = None) -> tuple[Tensor, Tensor]:
        """Train on minibatches of indices; return their losses from before it and the correct predictions.

        Sets `grad` of each parameter. Without `update`, the parameters do not change. Raises ValueError if the layers
        do not fit, and MemoryError.
        """
        gradients = [torch.empty_like(parameter) for parameter in self.parameters]
        losses = torch.empty(len(order))
        by = update.struct(gradients) if update else NO_UPDATE
        correct = self._call("train", data, order, gradients, byref(by), losses.data_ptr())
        if update:
            update.count(len(order))
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return losses, torch.tensor(correct)

    def logits(self, data: Pixels, order: Sequence[Tensor]) -> Tensor:
        """Return the logits (N, K) of all images of minibatches of indices. Raises as `train`."""
        logits = torch.empty(len(self.parameters[-1]), sum(map(len, order)))
        self._call("evaluate", data, order, (), logits.data_ptr())
        return logits.t()

    def _call(
        self, function: str, data: Pixels, order: Sequence[Tensor], gradients: Sequence[Tensor], *arguments: Any
    ) -> int:
        """Call a native function with the network, minibatches and further arguments."""
        indices, sizes = torch.cat(list(order)), torch.tensor([len(each) for each in order])
        minibatches = _Minibatches(
            data.images.data_ptr(), data.images.shape[1], data.images[0, 0].numel(),
            data.mean.data_ptr(), data.std.data_ptr(), data.labels.data_ptr(),
            indices.data_ptr(), sizes.data_ptr(), len(order), int(sizes.max()),
        )  # fmt: skip
        network, _kept = self._network(data.images, gradients)  # the latter must live during the call
        correct = int(getattr(library(), function)(byref(network), byref(minibatches), *arguments))
        if correct < 0:
            raise MemoryError(f"not enough memory for minibatches of {minibatches.largest} images")
        return correct

    def _network(self, images: Tensor, gradients: Sequence[Tensor]) -> tuple[_Network, object]:
        """Return the C++ struct, and what must live as long."""

        def pointers(i: int) -> list[int]:
            return [tensor.data_ptr() for some in (self.parameters, gradients) for tensor in some[2 * i : 2 * i + 2]]

        blocks: list[_Convolution] = []
        shape: Sequence[int] = images.shape[1:]
        for i, layer in enumerate(layer for layer in self.layers if isinstance(layer, nn.Conv2d)):
            struct, (*pooled, _) = convolution.shape_and_sizes((1, *shape), layer.weight.shape, int(layer.padding[0]))
            if len(self.parameters[2 * i + 1]) != len(layer.weight):
                raise ValueError(f"weight {tuple(layer.weight.shape)} and its bias do not fit")
            blocks.append(_Convolution(struct, *pointers(i)))
            shape = pooled
        first = len(blocks)
        widths = [math.prod(shape), *(len(bias) for bias in self.parameters[2 * first + 1 :: 2])]
        fitting = list(pairwise(widths))
        if [tuple(reversed(weight.shape)) for weight in self.parameters[2 * first :: 2]] != fitting:
            raise ValueError(f"the network's layers do not fit: features {widths}")
        linear = [_Linear(*pointers(i), inputs=pair[0], outputs=pair[1]) for i, pair in enumerate(fitting, first)]
        convolutions, layers = (_Convolution * first)(*blocks), (_Linear * len(linear))(*linear)
        network = _Network(
            ctypes.addressof(convolutions), first, ctypes.addressof(layers), len(layers),
            convolution.CHUNK, THREADS.total,
        )  # fmt: skip
        return network, (convolutions, layers)


def _layers(model: nn.Module) -> Sequence[Layer]:
    """Return what the network's method `native_chain` returns, or nothing if that is no chain.

    The method says what the `forward` beside it computes, so it does not count for a subclass with its own `forward`.
    """
    if not _defines_both(model, "native_chain"):
        return []
    layers: list[Layer] = list(model.native_chain())  # type: ignore[operator]
    kinds = "".join(map(_kind, layers))
    return layers if re.fullmatch("c*l+", kinds) else []


def _defines_both(module: nn.Module, name: str) -> bool:
    """Return True if the class that defines this module's `forward` defines `name`, too, and no subclass does."""
    owners = [next((cls for cls in type(module).__mro__ if each in vars(cls)), None) for each in ("forward", name)]
    return owners[0] is owners[1]


def _kind(layer: nn.Module) -> str:
    """Return "c" for `conv_pool_relu`, "l" for a linear layer, "?" for others."""
    if isinstance(layer, nn.Linear):
        return "l" if type(layer).forward is nn.Linear.forward else "?"
    if not (isinstance(layer, nn.Conv2d) and _defines_both(layer, "is_native") and layer.is_native):
        return "?"
    usual = layer.stride, layer.dilation, layer.groups, layer.padding_mode
    square = [len(set(sides)) for sides in (layer.kernel_size, layer.padding)]
    return "c" if usual == ((1, 1), (1, 1), 1, "zeros") and square == [1, 1] else "?"


def _are_classes(labels: Tensor, classes: int) -> bool:
    least, most = labels.aminmax()
    return bool(least >= 0 and most < classes)


def _is_plain(parameter: nn.Parameter) -> bool:
    return (
        type(parameter) is nn.Parameter
        and parameter.requires_grad
        and parameter.is_contiguous()
        and not parameter._backward_hooks
        and not parameter._post_accumulate_grad_hooks
    )
