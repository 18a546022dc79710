import subprocess
import sys

from tests.helpers.commands import ROOT


def python(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_lightning_imports_no_unused_packages_and_torchmetrics_can_be_imported_later() -> None:
    heavy = "matplotlib", "scipy", "sklearn", "torchmetrics", "torchvision"
    script = f"import sys, src.training.trainer; print([name for name in {heavy} if name in sys.modules])\n"
    script += "from torchmetrics import Accuracy, Metric\nprint(issubclass(Metric, object), Accuracy)"
    before, after = python(script).splitlines()
    assert before == "[]"
    assert "torchmetrics.classification" in after


def test_an_imported_torchmetrics_is_kept() -> None:
    script = "import torchmetrics, src.training.lightning, pytorch_lightning.core.module as m\n"
    script += "print(m.Metric is torchmetrics.Metric)"
    assert python(script) == "True\n"
