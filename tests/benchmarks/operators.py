"""`python -m tests.benchmarks.operators`: LeNet's convolutions on one core, native and torch's, beside a GEMM."""

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

from src.native.allocator import keep_freed_memory
from src.native.convolution import conv_pool_relu
from tests.benchmarks.table import GEMM, QUICK, gemm, in_turn, report, seconds, spread

LAYERS = {"conv1": (1, 28, 6, 2), "conv2": (6, 14, 16, 0)}  # channels, height and width, filters, padding; 5 x 5


def torchs(images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    return relu(max_pool2d(conv2d(images, weight, bias, padding=padding), 2))


def images_last(images: Tensor) -> Tensor:
    return images.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


ENGINES: dict[str, tuple[Callable[..., Tensor], Callable[[Tensor], Tensor]]] = {
    "native": (conv_pool_relu, images_last),
    "torch NCHW": (torchs, torch.Tensor.contiguous),
    "torch channels-last": (torchs, lambda images: images.contiguous(memory_format=torch.channels_last)),
}


def cases(layer: str, batch: int) -> dict[str, tuple[Callable[[], float], float]]:
    """What measures a call of each operator, and its floating-point operations."""
    channels, size, filters, padding = LAYERS[layer]
    output = size + 2 * padding - 4
    operations = 2.0 * batch * filters * channels * 25 * output**2
    found: dict[str, tuple[Callable[[], float], float]] = {}
    for engine, (function, layout) in ENGINES.items():
        images = layout(torch.randn(batch, channels, size, size)).requires_grad_(layer != "conv1")
        weight, bias = (
            torch.randn(filters, channels, 5, 5, requires_grad=True),
            torch.randn(filters, requires_grad=True),
        )
        inputs = [tensor for tensor in (images, weight, bias) if tensor.requires_grad]
        result = function(images, weight, bias, padding)
        gradient = torch.randn_like(result)

        forward = partial(function, images, weight, bias, padding)
        backward = partial(torch.autograd.grad, result, inputs, gradient, retain_graph=True)
        for direction, work, share in (("forward", forward, 1), ("backward", backward, len(inputs) - 1)):
            found[f"{layer} {direction}, batch {batch}, {engine}"] = partial(seconds, work, 20), operations * share
    return found


def main() -> None:
    """The command."""
    torch.set_num_threads(1)
    keep_freed_memory()
    work = {name: case for layer in LAYERS for batch in (64, 256) for name, case in cases(layer, batch).items()}
    times = in_turn({"GEMM": gemm} | {name: measure for name, (measure, _) in work.items()}, 3 if QUICK else 9)
    rate = GEMM / statistics.median(times["GEMM"]) / 1e9
    rows = [["GEMM 1024 x 1024", *spread([GEMM / s / 1e9 for s in times["GEMM"]]), "100 %"]]
    for name, (_, operations) in work.items():
        rates = [operations / s / 1e9 for s in times[name]]
        rows.append([name, *spread(rates), f"{statistics.median(rates) / rate:.0%}".replace("%", " %")])
    note = f"GFLOP/s of one core, convolution's operations only, n={len(times['GEMM'])}"
    report("operators", ["operator", "median", "least", "most", "of GEMM"], rows, note)


if __name__ == "__main__":
    main()
