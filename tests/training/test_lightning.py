import subprocess
import sys

from tests.helpers.commands import ROOT


def python(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_lightning_imports_no_unused_packages() -> None:
    heavy = "matplotlib", "scipy", "sklearn", "torchmetrics", "torchvision"
    script = "import sys, src.training.trainer; print([name for name in {} if name in sys.modules])"
    assert python(script.format(heavy)) == "[]\n"


def test_torchmetrics_can_be_imported_later() -> None:
    script = "import src.training.lightning\nfrom torchmetrics import Accuracy, Metric\n"
    script += "print(issubclass(Metric, object), Accuracy)"
    assert "torchmetrics.classification" in python(script)


def test_an_imported_torchmetrics_is_kept() -> None:
    script = "import torchmetrics, src.training.lightning, pytorch_lightning.core.module as m\n"
    script += "print(m.Metric is torchmetrics.Metric)"
    assert python(script) == "True\n"
