"""Linear layers with ReLU between them, in one call forward and one backward."""

import ctypes
from collections.abc import Sequence
from ctypes import c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from src.native.build import forbid_double_backward, in_plain_eager, library, supports


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("weight", "bias", "output", "of_weight", "of_bias")),
        *((name, c_int64) for name in ("inputs", "outputs")),
    ]


def perceptron(features: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """Apply the layers in order, with ReLU between them, to flattened features (B, ...): (B, outputs of the last).

    The native code is used if it supports the tensors and torch has one thread; it calls no hooks of the layers.
    Otherwise torch's operators are used.
    """
    parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    biases = all(layer.bias is not None for layer in layers)
    if biases and torch.get_num_threads() == 1 and in_plain_eager() and supports(features, *parameters):
        return _Perceptron.apply(features, *parameters)
    *others, last = layers
    features = features.flatten(1)
    for layer in others:
        features = relu(layer(features))
    return last(features)


def layer_structs(
    parameters: Sequence[Tensor], outputs: Sequence[Tensor] = (), gradients: Sequence[Tensor] = ()
) -> Any:
    """Return the C++ structs of the layers; `parameters` and `gradients` are weight and bias of each layer in turn."""
    rows = []
    for i, (weight, bias) in enumerate(zip(parameters[::2], parameters[1::2], strict=True)):
        output = outputs[i].data_ptr() if outputs else None
        to = [gradient.data_ptr() for gradient in gradients[2 * i : 2 * i + 2]] or (None, None)
        rows.append(_Layer(weight.data_ptr(), bias.data_ptr(), output, *to, *reversed(weight.shape)))
    return (_Layer * len(rows))(*rows)


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, *parameters: Tensor) -> Tensor:
        ctx.shape = features.shape
        features = features.flatten(1).t().contiguous()  # (I, B)
        parameters = tuple(parameter.contiguous() for parameter in parameters)
        inputs, images = features.shape
        widths = [inputs, *(bias.shape[0] for bias in parameters[1::2])]
        if [tuple(weight.shape) for weight in parameters[::2]] != list(zip(widths[1:], widths, strict=False)):
            raise ValueError(f"features and weights do not fit: {widths}")
        # Allocated with these strides, since a transposed view of the last could not be changed in place.
        outputs = [torch.empty_strided((images, width), (1, images)) for width in widths[1:]]
        library().linear_forward(images, features.data_ptr(), layer_structs(parameters, outputs), len(outputs))
        ctx.save_for_backward(features, *parameters, *outputs[:-1])
        return outputs[-1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        forbid_double_backward("perceptron")
        features, *saved = ctx.saved_tensors
        gradient = gradient.t().contiguous()
        n = (len(saved) + 1) // 3
        parameters, outputs = saved[: 2 * n], [*saved[2 * n :], gradient]  # as the last output, which is not read
        gradients = [torch.empty_like(parameter) for parameter in parameters]
        to_features = torch.empty_like(features) if ctx.needs_input_grad[0] else None
        library().linear_backward(
            features.shape[1], features.data_ptr(), layer_structs(parameters, outputs, gradients), n,
            gradient.data_ptr(), None if to_features is None else to_features.data_ptr(), False,
        )  # fmt: skip
        return None if to_features is None else to_features.t().reshape(ctx.shape), *gradients
