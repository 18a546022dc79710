"""What a run needs to resume bit for bit: all of its state on disk, and the same machine and code."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from src.files import Damaged
from src.generators import kept_generators
from src.runs.checkpoint import read_back
from src.runs.comparison import differing
from src.runs.own_globals import begin_anew, kept_variables
from src.runs.snapshot import named
from src.training.classifier import Classifier

SHOWN = 5  # places that a message names


def unsaved_state(classifier: Classifier, file: Path, build: Callable[[], Classifier], device: str) -> list[str]:
    """Return the places of state that a checkpoint of the classifier lacks. Raises UserError if it cannot be read.

    The file is restored in a classifier that is built anew, as a resumed run does. Classes of torch and Ravine need not
    be tried in each run.
    """
    checkpoint = read_back(file)
    if classifier.code.digest is None:
        return []
    found = classifier.snapshot().unsaved
    if checkpoint["unsaved"]:
        return named(found)
    with kept_generators():
        try:
            with kept_variables(classifier.code):
                begin_anew(classifier.code)
                found = restored(checkpoint, build(), device) | found
            # The two may share objects, such as a constant of a module or a registry of a class.
            restored(read_back(file), classifier, device)
        except Damaged as error:
            return [str(error)[:200]]
    return named(found)


def restored(checkpoint: dict[str, Any], classifier: Classifier, device: str) -> dict[str, str]:
    """Restore a checkpoint with a snapshot; return the places that differ from it, and the types of what is there.

    Raises Damaged.
    """
    classifier.restore(checkpoint["snapshot"], device)
    snapshot = classifier.snapshot()
    if (roots := checkpoint["snapshot"]["roots"].keys()) != snapshot.roots.keys():
        raise Damaged(f"its snapshot has only {', '.join(roots)}")
    weights, found = checkpoint["state_dict"], classifier.state_dict()
    for name in found.keys() | weights.keys():
        sizes = [tuple(getattr(some.get(name), "shape", ())) for some in (found, weights)]
        if sizes[0] != sizes[1]:
            raise Damaged(f"its {name} is of shape {sizes[1]}, not {sizes[0]}")
    return differing(checkpoint["snapshot"], snapshot)


def listed(places: list[str]) -> str:
    """List the first few places, and the number of the others."""
    more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    return ", ".join(places[:SHOWN]) + more


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return in words what differs between two sessions and changes the last bits of results; empty if nothing does."""
    found = _of_bits(now)
    return ", ".join(
        f"{key} {found[key]} after {one}" for key, one in _of_bits(before).items() if one not in (None, found[key])
    )


def _of_bits(session: Mapping[str, Any]) -> dict[str, Any]:
    kernels = session.get("kernels")
    return {
        "device": session.get("device"),
        "threads": session.get("threads"),
        "kernels": kernels.partition(":")[0] if isinstance(kernels, str) else None,  # without the reason
        "processor": session.get("machine", {}).get("processor"),
        "torch": session.get("versions", {}).get("torch"),
    }
