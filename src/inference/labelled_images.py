"""The test set on which a trained network is evaluated."""

from pathlib import Path
from typing import Any

from src.data import datasets
from src.data.images import Images
from src.data.own import load_own
from src.errors import UserError
from src.inference.trained import TrainedNetwork
from src.inference.trust import check_trusted
from src.runs.directory import Run


def labelled_images(
    network: TrainedNetwork, directory: Path, data: str, path: str, data_root: str, trust: bool
) -> Images:
    """Return the data set `data`, or else that of the network's run, found at `path` if it is of the user's own.

    Raises UserError, also if the network does not take its images or has other classes.
    """
    settings = network.record["settings"]
    source: dict[str, Any] = settings.get("source", {})
    name = data or settings["data"]
    if name in datasets.NAMES:
        images = datasets.load(datasets.choose(name, data_root), data_root)
    elif data and data != settings["data"]:
        raise UserError(f"data={data}: must be one of: {', '.join(datasets.NAMES)}")
    else:
        if not trust:
            check_trusted(source.get("_target_"), directory)
        recorded = Run(directory).configured("data.path")
        path = path or (recorded if isinstance(recorded, str) else "")
        images = load_own(name, source | ({"path": path} if path else {}), settings.get("test_share", 0.0), data_root)
    if (images.shape, len(images.classes)) != (network.image_shape, len(network.classes)):
        found, wanted = (
            f"{' x '.join(map(str, shape))} in {classes} classes"
            for shape, classes in ((images.shape, len(images.classes)), (network.image_shape, len(network.classes)))
        )
        raise UserError(f"data={name}: its images are of {found}, and {directory.name} was trained on {wanted}")
    return images
