"""Data sets of the user's own, from the class that conf/data/ names."""

import json
from functools import cache
from typing import Any

from src.data.arrays import Source, images_of
from src.data.images import Images
from src.errors import UserError, one_line
from src.instantiate import instantiate


def load_own(name: str, source: dict[str, Any], test_share: float, data_root: str) -> Images:
    """Return the images that the class `source["_target_"]` gives, built with the other keys. Raises UserError."""
    loaded = _load(name, json.dumps(source), test_share, data_root)
    if isinstance(loaded, UserError):
        raise loaded
    return loaded


@cache
def _load(name: str, source: str, test_share: float, data_root: str) -> Images | UserError:
    """Return the images or the error, so that a sweep does not read the data again for each of its jobs."""
    try:
        return _read(name, json.loads(source), test_share, data_root)
    except UserError as error:
        return error


def _read(name: str, node: dict[str, Any], test_share: float, data_root: str) -> Images:
    data = instantiate("data", node, Source, told={"data_root": data_root})  # type: ignore[type-abstract]
    try:
        arrays = data.arrays()
    except UserError:
        raise
    except Exception as error:  # the user's class may raise anything
        raise UserError(f"data={name}: {node['_target_']}.arrays() failed: {one_line(error)}") from error
    return images_of(arrays, str(node.get("path", f"data={name}")), test_share)
