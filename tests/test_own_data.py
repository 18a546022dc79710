"""Images of the user's own, from the command line to the report."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.runs.directory import Run
from tests.helpers.commands import ROOT, Command, environment, own_choice
from tests.helpers.groups import runs_in
from tests.helpers.images import NAMES, bars, write_npz, write_pngs
from tests.helpers.runs import assert_same, the_run
from tests.helpers.warm import WarmCommands


def test_the_same_images_give_the_same_run_from_any_source(train: Command, outputs: Path, tmp_path: Path) -> None:
    (x_train, y_train), (x_test, y_test) = bars(300, 1), bars(80, 2)
    np.savez(tmp_path / "bars.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    pngs = write_pngs(tmp_path / "pngs", bars(300, 1), bars(80, 2))
    common = "model=lenet", "epochs=2"
    for data in ("mnist", f"arrays data.path={tmp_path / 'bars.npz'}", f"folder data.path={pngs}"):
        ended = train(*f"data={data}".split(), *common)
        assert ended.returncode == 0, ended.stderr
    mnist, arrays, folder = (the_run(outputs / name) for name in ("mnist", "bars", "pngs"))
    for other in (arrays, folder):
        assert_same(mnist, other)
        assert Run(other).record()["data"] | {"name": "mnist"} == Run(mnist).record()["data"]


@pytest.mark.parametrize("shape", [(3, 32, 32), (20, 24)], ids=["coloured", "grey"])
def test_other_shapes_and_classes_are_run_swept_resumed_grouped_and_reported(
    shape: tuple[int, ...], train: Command, warm: WarmCommands, tmp_path: Path
) -> None:
    data = "data=arrays", f"data.path={write_npz(tmp_path / 'my.npz', shape)}"
    common = *data, "model=lenet", "optimizer=adam", "lr=0.003", "epochs=6", "batch_size=32", "data.augment=flip_shift"
    alone, swept, grouped = (tmp_path / name for name in ("alone", "swept", "grouped"))
    for seed in (0, 1):
        ended = train(*common, f"seed={seed}", f"output_dir={alone}", DRAWN="1")
        assert ended.returncode == 0, ended.stderr
    assert train("-m", *common, "seed=0,1", f"output_dir={swept}").returncode == 0
    vectorized = train("-m", *common, "seed=0,1", "hydra.launcher.vectorize=true", f"output_dir={grouped}")
    assert "2 runs will be trained as 1 model" in vectorized.stdout
    assert len(runs_in(alone)) == 2
    for run in runs_in(alone):
        assert_same(alone / run, swept / run)
        assert Run(grouped / run).record()["fused"]  # tests/fused/test_parity.py compares the numbers
        record = Run(alone / run).record()
        assert record["data"]["classes"] == NAMES
        assert record["data"]["shape"] == [*((1,) if len(shape) == 2 else ()), *shape]
        assert record["figures"]["test_accuracy"] > 0.25
        predictions = Run(alone / run).predictions(70)
        assert predictions is not None
        assert (predictions[0] == predictions[1]).mean() == record["figures"]["test_accuracy"]
        with Image.open(alone / run / "error_figure.png") as figure:
            assert figure.size == (1200, 600)
    reported = warm.run("src.report", [f"output_dir={alone}"], environment(ROOT))
    assert reported.returncode == 0, reported.stderr
    assert "lenet on my, augment flip_shift, 6 epochs" in reported.stdout


def test_an_augmented_run_resumes_bit_for_bit(train: Command, tmp_path: Path) -> None:
    data = "data=arrays", f"data.path={write_npz(tmp_path / 'my.npz')}", "data.augment=shift"
    (tmp_path / "stops.py").write_text(
        "import os\n"
        "from src.schedules import Schedule\n"
        "class Stops(Schedule):\n"
        "    def decay(self, epoch):\n"
        "        seen = vars(self).setdefault('seen', [])\n"  # all epochs are seen before the run begins
        "        if epoch == 2 and epoch in seen and 'STOP' in os.environ: raise KeyboardInterrupt\n"
        "        seen.append(epoch)\n"
        "        return 1.0\n"
    )
    found = own_choice(tmp_path, "schedule/stops", "_target_: stops.Stops\n")
    common = *found, *data, "model=mlp", "schedule=stops", "epochs=4", "lr=0.01"
    alone, cut = tmp_path / "alone", tmp_path / "cut"
    assert train(*common, f"output_dir={alone}", PYTHONPATH=str(tmp_path)).returncode == 0
    assert train(*common, f"output_dir={cut}", PYTHONPATH=str(tmp_path), STOP="1").returncode != 0
    assert Run(the_run(cut)).record()["status"] == "interrupted"
    assert train(*common, f"output_dir={cut}", PYTHONPATH=str(tmp_path)).returncode == 0
    assert_same(the_run(alone), the_run(cut))
    assert len(Run(the_run(cut)).record()["sessions"]) == 2


def test_a_class_of_ones_own_gives_the_arrays(train: Command, outputs: Path, tmp_path: Path) -> None:
    module = (
        "import numpy as np\n"
        "class Stripes:\n"
        "    def __init__(self, n, data_root):\n"
        "        self.n, self.root = n, data_root\n"
        "    def arrays(self):\n"
        "        x = np.zeros((self.n, 16, 16), np.uint8)\n"
        "        x[::2, ::2] = 255\n"
        "        x[1::2, :, ::2] = 255\n"
        "        return {'x_train': x, 'y_train': np.arange(self.n) % 2, 'classes': ['lying', 'standing']}\n"
    )
    yaml = "defaults: [auto]\n_target_: stripes.Stripes\nn: 100\ntest: 0.25\n"
    found = own_choice(tmp_path, "data/stripes", yaml, module)
    ended = train(*found, "data=stripes", "model=mlp", "epochs=2", "data.n=200", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    run = the_run(outputs)
    assert run.parts[-3:-1] == ("stripes", "mlp")
    record = Run(run).record()
    assert record["settings"]["source"] == {"_target_": "stripes.Stripes", "n": 200}
    assert record["settings"]["test_share"] == 0.25
    assert (record["data"]["train"], record["data"]["test"]) == (150, 50)
    weights = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    assert weights["model.linear1.weight"].shape == (80, 256)
    assert weights["model.linear4.weight"].shape == (2, 20)


def test_changed_images_are_other_images(train: Command, outputs: Path, tmp_path: Path) -> None:
    file = write_npz(tmp_path / "my.npz")
    command = "data=arrays", f"data.path={file}", "model=mlp", "epochs=1"
    assert train(*command).returncode == 0
    shutil.copy(file, tmp_path / "copy.npz")
    moved = train("data=arrays", f"data.path={tmp_path / 'copy.npz'}", "data.name=my", *command[2:])
    assert "Trained already" in moved.stdout  # the same images elsewhere are the same run
    with np.load(file) as arrays:  # the same bytes in another shape
        turned = {key: array.reshape(-1, 14, 56) if key.startswith("x") else array for key, array in arrays.items()}
    np.savez(file, **turned)
    refused = train(*command)
    write_npz(file, classes=NAMES[:5])
    changed = train(*command)
    for ended in (refused, changed):
        assert ended.returncode == 2
        assert "was trained on other data files than the current ones" in ended.stderr
        assert "another data.name= keeps both" in ended.stderr
    assert json.loads((the_run(outputs) / "run.json").read_text())["data"]["classes"] == NAMES


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("data=arrays", "data.path: is missing; set data.path="),
        ("data=arrays data.path=nowhere.npz", "data.path=nowhere.npz: does not exist"),
        ("data=arrays data.path={npz} data.name=mnist", "data.name=mnist: is the name of another data set"),
        ("data=arrays data.path={npz} data.name=a/b", "data.name=a/b: must be letters, digits, _, - and . only"),
        ("data=arrays data.path={npz} data.size=32", "data.size"),
        ("data=arrays data.path={npz} data.test=0.2", "data.test=0.2: "),
        ("data=arrays data.path={npz} data.classes=[a,b]", "data.classes: is a list of 2, but the data have 7 classes"),
        ("data=arrays data.path={npz} model=lenet +model.classes=3", "model.classes=3: is set to 7 by the run"),
        ("data=folder data.path={npz}", "train: is not a folder"),
        ("data=folder data.path={npz} data.size=none", "data.size=none: must be a whole number of pixels"),
        ("-m data=arrays data.path={npz},b.npz", "a sweep cannot vary data.path"),
        ("data=arrays data.path={small}", "images of 8 x 8: LeNet needs 12 x 12 or more"),
        (
            "data=arrays data._target_=builtins.dict data.path={npz}",
            "data._target_=builtins.dict: is not a subclass of Source",
        ),
        ("data=arrays data._target_=subprocess.Popen data.path={npz}", "is not a subclass of Source"),
    ],
)
def test_mistakes_are_told_in_one_line_before_training(
    arguments: str, says: str, train: Command, outputs: Path, tmp_path: Path
) -> None:
    npz, small = write_npz(tmp_path / "my.npz"), write_npz(tmp_path / "small.npz", (8, 8))
    ended: subprocess.CompletedProcess[str] = train(*arguments.format(npz=npz, small=small).split())
    assert ended.returncode == 2, ended.stderr
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not outputs.exists()
