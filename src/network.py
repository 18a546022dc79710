"""The network of a run, built from its settings and checked on blank images."""

import torch
from torch import Tensor, nn

from src.config.settings import Settings
from src.errors import UserError, one_line
from src.generators import seed_all
from src.instantiate import instantiate


def new_model(settings: Settings, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return the network for images of this shape, (C, H, W), and number of classes, initialised from the seed.

    Its constructor gets them as `image_shape` and `classes` if it has these arguments. Raises UserError, also if its
    output is not (B, K) for K classes.
    """
    seed_all(settings.seed)
    model = instantiate("model", settings.model, nn.Module, told={"image_shape": shape, "classes": classes})
    sizes = 2, *shape
    try:
        with torch.no_grad():
            logits = model.eval()(torch.zeros(sizes))
    except Exception as error:  # the user's network may raise anything
        raise UserError(f"model: does not take images of shape {sizes}: {one_line(error)}") from error
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        kind = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"model: its output is of type {kind}; must be a tensor of floating-point numbers, the logits")
    if (found := tuple(logits.shape)) != (2, classes):
        raise UserError(
            f"model: its output for 2 images has shape {found}; must be {(2, classes)}, the logits of {classes} classes"
        )
    return model.train()
