"""The layers of src: a package imports only packages of later layers."""

import ast
from pathlib import Path

from tests.helpers.commands import ROOT

LAYERS = [
    {"train", "report", "status", "evaluate", "predict", "export", "lr_range"},
    {"hydra_plugins", "range_test"},
    {"sweep"},
    {"fused"},
    {"training", "inference"},
    {"network"},
    {"display", "reporting"},
    {"runs"},
    {"config"},
    {"data", "models"},
    {"native", "probe"},
    {"schedules"},
    {"instantiate", "generators", "optimizers"},
    {"errors"},
    {"files", "hints", "interrupts"},
]


def imported(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {module.split(".")[1] for module in modules if module.startswith("src.")}


def test_imports_point_one_way() -> None:
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    for file in (ROOT / "src").rglob("*.py"):
        own = file.relative_to(ROOT / "src").parts[0].removesuffix(".py")
        if own != "__init__":
            wrong = {name for name in imported(file) - {own} if layer[name] <= layer[own]}
            assert not wrong, f"{file} imports {wrong}"
