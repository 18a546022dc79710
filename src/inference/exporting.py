"""Export of a trained network on torch's own operators, with a free batch size."""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import torch

from src.errors import UserError, one_line
from src.files import replace_file
from src.inference.trained import TrainedNetwork
from src.native.build import without_native_code


def write(network: TrainedNetwork, file: Path) -> None:
    """Write `network` to FILE.pt2, which `torch.export.load` reads, or FILE.onnx. Raises UserError."""
    content = io.BytesIO()
    try:
        program = _program(network)
        if file.suffix == ".pt2":
            torch.export.save(program, content)
        else:
            _to_onnx(program, content)
    except UserError:
        raise
    except Exception as error:  # the user's network may raise anything
        raise UserError(f"{file}: the network cannot be exported: {one_line(error)}") from error
    replace_file(file, content.getvalue())


def _program(network: TrainedNetwork) -> torch.export.ExportedProgram:
    images = torch.zeros(2, *network.image_shape, dtype=torch.uint8)
    with without_native_code():
        return torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def _to_onnx(program: torch.export.ExportedProgram, to: io.BytesIO) -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError("onnx: is not installed; pip install -e '.[onnx]'") from error
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        converted = torch.onnx.export(program, dynamo=True, input_names=["images"], output_names=["logits"])
    assert converted is not None
    to.write(converted.model_proto.SerializeToString())
