"""`python -m tests.benchmarks.operators`: LeNet's convolutions on one core, native and torch's, relative to a GEMM."""

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, relu

from src.native.convolution import conv_pool_relu
from src.native.malloc import keep_freed_memory
from tests.benchmarks.table import GEMM, QUICK, gemm, in_turn, report, seconds, spread

Cases = dict[str, tuple[Callable[[], float], float]]  # seconds of a call, measured, and its floating-point operations

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


def timed(name: str, function: Callable[..., Tensor], inputs: list[Tensor], forward: float, backward: float) -> Cases:
    """Return the cases that time a function and its gradients."""
    result = function(*inputs)
    gradient, learning = torch.randn_like(result), [tensor for tensor in inputs if tensor.requires_grad]
    back = partial(torch.autograd.grad, result, learning, gradient, retain_graph=True)
    return {
        name.format("forward"): (partial(seconds, partial(function, *inputs), 20), forward),
        name.format("backward"): (partial(seconds, back, 20), backward),
    }


def convolutions(layer: str, batch: int) -> Cases:
    channels, size, filters, padding = LAYERS[layer]
    operations = 2.0 * batch * filters * channels * 25 * (size + 2 * padding - 4) ** 2
    found: Cases = {}
    for engine, (function, layout) in ENGINES.items():
        images = layout(torch.randn(batch, channels, size, size)).requires_grad_(layer != "conv1")
        weight, bias = nn.Parameter(torch.randn(filters, channels, 5, 5)), nn.Parameter(torch.randn(filters))
        backward = operations * (1 if layer == "conv1" else 2)
        of_tensors = partial(lambda f, *tensors: f(*tensors, padding), function)
        name = f"{layer} {{}}, batch {batch}, {engine}"
        found |= timed(name, of_tensors, [images, weight, bias], operations, backward)
    return found


def main() -> None:
    """Measure and report."""
    torch.set_num_threads(1)
    keep_freed_memory()
    work: Cases = {}
    for batch in (64, 256):
        for layer in LAYERS:
            work |= convolutions(layer, batch)
    times = in_turn({"GEMM": gemm} | {name: measure for name, (measure, _) in work.items()}, 3 if QUICK else 9)
    rate = GEMM / statistics.median(times["GEMM"]) / 1e9
    rows = [["GEMM 1024 x 1024", *spread([GEMM / s / 1e9 for s in times["GEMM"]]), "100 %"]]
    for name, (_, operations) in work.items():
        rates = [operations / s / 1e9 for s in times[name]]
        rows.append([name, *spread(rates), f"{statistics.median(rates) / rate:.0%}".replace("%", " %")])
    note = f"GFLOP/s of one core, operations of convolutions only, n={len(times['GEMM'])}"
    report("operators", ["operator", "median", "least", "most", "of GEMM"], rows, note)


if __name__ == "__main__":
    main()
