"""Damaged files in a run's folder are named and renamed by the run's own command, and affect no other run."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from src.files import Damaged
from src.report import report
from src.runs.checkpoint import restore_curve
from src.runs.dataframe import read
from src.runs.directory import Run
from src.runs.state import read_state
from src.status import Onlooker
from tests.helpers.runs import assert_same, run_of
from tests.reporting.synthetic import cell
from tests.training.test_resume import Stop, fit, settings

pytestmark = pytest.mark.usefixtures("blank_error_figures")

RUN, OTHER = settings(0.01), settings(0.02)
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a folder `finished` with two runs, and `cut` with one interrupted run and one finished one."""
    folder = tmp_path_factory.mktemp("runs")
    for each in (RUN, OTHER):
        fit(folder / "finished", each)
    with pytest.raises(Stop):
        fit(folder / "cut", RUN, 1)
    shutil.copytree(run_of(OTHER, folder / "finished").directory, run_of(OTHER, folder / "cut").directory)
    return folder


@pytest.fixture
def output(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "finished", tmp_path / "outputs")
    return tmp_path / "outputs"


def bytes_(content: bytes) -> Damage:
    def write(file: Path) -> None:
        file.write_bytes(content)

    return write


def edited(*keys: str, **values: Any) -> Damage:
    """Return a function that sets other values below these keys of a record."""

    def edit(file: Path) -> None:
        record = part = json.loads(file.read_bytes())
        for key in keys:
            part = part[key]
        part |= values
        file.write_text(json.dumps(record))

    return edit


def without(key: str) -> Damage:
    def remove(file: Path) -> None:
        record = json.loads(file.read_bytes())
        del record[key]
        file.write_text(json.dumps(record))

    return remove


def replaced(old: str, new: str) -> Damage:
    def replace(file: Path) -> None:
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    return replace


def folder(file: Path) -> None:
    file.unlink(missing_ok=True)
    (file / "within").mkdir(parents=True)


def pipe(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def loop(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to(file.name)


def endless(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to("/dev/zero")


def huge(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(2**40)


def of_another_run(file: Path) -> None:
    other = next(each for each in file.parent.parent.iterdir() if each != file.parent)
    shutil.copy(other / file.name, file)


ANYWHERE: dict[str, Damage] = {
    "empty": bytes_(b""),
    "zeros": bytes_(bytes(1000)),
    "no text": bytes_(b"\xff\xfe\x00" * 50),
    "a folder": folder,
    "a pipe": pipe,
    "without an end": endless,
    "a link to itself": loop,
    "a terabyte": huge,
}
RECORD: dict[str, Damage] = {
    "cut": bytes_(b'{"status": "finished"'),
    "a list": bytes_(b"[]"),
    "null": bytes_(b"null"),
    "a number": bytes_(b"1e999"),
    "nothing but a status": bytes_(b'{"status": "finished"}'),
    "100,000 brackets": bytes_(b"[" * 100_000),
    "100,000 objects": bytes_(b'{"status":' * 100_000),
    "another status": edited(status="done"),
    "no status": without("status"),
    "no names": without("names"),
    "no settings": without("settings"),
    "no figures": without("figures"),
    "no data": without("data"),
    "no sessions": without("sessions"),
    "no epochs": edited("figures", epochs=0),
    "more epochs": edited("figures", epochs=3),
    "fewer epochs": edited("figures", epochs=1),
    "epochs that are a text": edited("figures", epochs="2"),
    "figures null": edited(figures=None),
    "figures empty": edited(figures={}),
    "data null": edited(data=None),
    "sessions a number": edited(sessions=3),
    "sessions of numbers": edited(sessions=[1, 2]),
    "sessions empty": edited(sessions=[]),
    "versions a list": edited(sessions=[{"began": "x", "versions": []}]),
    "a group of none": edited(sessions=[{"began": "x", "group_size": 0}]),
    "names that are lists": edited("names", model=[], optimizer=["adam"]),
    "another name": edited("names", colour="red"),
    "an accuracy that is none": edited("figures", test_accuracy=float("nan")),
    "an accuracy of 101 %": edited("figures", test_accuracy=1.01),
    "a loss without end": edited("figures", test_loss=float("inf")),
    "a better accuracy": edited("figures", test_accuracy=0.999),
    "another lr": edited("settings", lr=0.5),
    "an lr that is a text": edited("settings", lr="0.01"),
    "more settings": edited("settings", momentum=0.9),
    "settings null": edited(settings=None),
    "another run's": of_another_run,
}
REASON = {  # parts of the messages, by case
    "nothing but a status": "names: Field required",
    "100,000 brackets": "recursion",
    "another status": "'done'",
    "no figures": "figures: Field required",
    "no data": "data: Field required",
    "no sessions": "sessions: Field required",
    "no epochs": "figures.epochs: ",
    "more epochs": "figures.epochs: 3, but 2",
    "fewer epochs": "figures.epochs: 1, but 2",
    "epochs that are a text": "figures.epochs: ",
    "figures null": "figures: ",
    "figures empty": "figures.train_loss: Field required",
    "data null": "data: ",
    "sessions a number": "sessions: ",
    "sessions of numbers": "sessions.0: ",
    "sessions empty": "sessions: List should have at least 1 item",
    "versions a list": "sessions.0.versions: ",
    "a group of none": "sessions.0.group_size: ",
    "names that are lists": "names.model: ",
    "another name": "names.colour: ",
    "an accuracy that is none": "figures.test_accuracy: ",
    "an accuracy of 101 %": "figures.test_accuracy: ",
    "a loss without end": "figures.test_loss: ",
    "another lr": "its settings are those of run",
    "an lr that is a text": "settings.lr: ",
    "more settings": "settings.momentum: ",
    "another run's": "its settings are those of run",
}
CURVE: dict[str, Damage] = {
    "missing": Path.unlink,
    "a header alone": bytes_(b"epoch,train_loss\n"),
    "texts": replaced("2,", "two,"),
    "another epoch": replaced("\n2,", "\n7,"),
    "an epoch missing": replaced("\n1,", "\n2,"),
    "no losses": replaced("train_loss", "trainloss"),
    "a longer row": replaced("\n2,", ",1\n2,"),
    "another run's": of_another_run,
}
CHECKPOINT: dict[str, Damage] = {
    "a tensor": lambda file: torch.save(torch.zeros(3), file),
    "an empty dict": lambda file: torch.save({}, file),
    "another run's": of_another_run,
}


def changed(**values: Any) -> Damage:
    """Return a function that sets other values in a checkpoint but keeps its digest."""

    def change(file: Path) -> None:
        buffer = io.BytesIO()
        torch.save(torch.load(file, weights_only=True) | values, buffer)
        file.write_bytes(buffer.getvalue())

    return change


CHECKPOINT |= {
    "no weights": changed(state_dict={}),
    "another network's weights": changed(state_dict={"model.linear1.weight": torch.zeros(3, 3)}),
    "weights that are none": changed(state_dict=[1, 2]),
    "no optimizer": changed(optimizer_states=[]),
    "no snapshot": changed(snapshot=None),
    "a snapshot that ends": changed(snapshot={"nodes": [], "roots": {"network": {"node": 0}}}),
    "a snapshot in a circle": changed(
        snapshot={
            "nodes": [{"kind": "sequence", "type": "builtins.tuple", "items": [{"node": 0}]}],
            "roots": {key: {"node": 0} for key in ("network", "optimizer", "gradients")},
        }
    ),
    "another network's snapshot": changed(
        snapshot={
            "nodes": [{"kind": "object", "type": "src.models.LeNet"}],
            "roots": {key: {"node": 0} for key in ("network", "optimizer", "gradients")},
        }
    ),
    "of other data": changed(data_sha256="0" * 64),
    "no curve": changed(curve=None),
    "an empty curve": changed(curve=[]),
    "a curve of numbers": changed(curve=[1, 2]),
    "a curve of texts": changed(curve=[{"epoch": "1"}]),
    "another epoch": changed(epoch=7),
    "no digest": changed(digest=None),
}


def cases(damages: dict[str, Damage]) -> pytest.MarkDecorator:
    damages = ANYWHERE | damages
    return pytest.mark.parametrize("damage", damages.values(), ids=damages.keys())


def assert_only_named(output: Path, file: Path) -> None:
    """Assert that status and report show only the other run, and name this file as damaged."""
    other = run_of(OTHER, output)
    assert [state.directory for state in Onlooker(output).states()] == [other.directory]
    frames = read(output)
    assert frames.runs.index.tolist() == [str(other.directory)]
    assert frames.damaged.keys() == {file}
    assert all(frames.damaged.values())


def assert_repaired(output: Path, trained: Path, files: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """Assert that the run's own command renames these files and ends with the uninterrupted result."""
    capfd.readouterr()
    run = fit(output, RUN)
    said = [line for line in capfd.readouterr().err.splitlines() if "damaged" in line]
    assert [line.partition(": damaged")[0] for line in said] == [str(run.directory / file) for file in files]
    assert run.ended
    assert_same(run_of(RUN, trained / "finished").directory, run.directory)


@cases(RECORD)
def test_a_damaged_record(
    damage: Damage, output: Path, trained: Path, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    run, case = run_of(RUN, output), request.node.callspec.id
    damage(run.record_file)
    assert read_state(run) is None
    assert not run.ended
    file = run.curve_file if case == "a better accuracy" else run.record_file  # either of the two may be wrong
    assert REASON.get(case, "") in run.damage()[file]
    assert_only_named(output, file)
    assert_repaired(output, trained, [file.name], capfd)
    assert any(path.name.endswith(".damaged") for path in run.directory.iterdir())


@cases(CURVE)
def test_a_damaged_curve_is_restored_from_the_checkpoint(
    damage: Damage, output: Path, trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = run_of(RUN, output)
    curve = run.curve_file.read_bytes()
    damage(run.curve_file)
    assert not run.ended
    shutil.copytree(output, twin := output.with_name("twin"), symlinks=True, copy_function=copy)
    assert len(read(output).runs) == 2
    assert "restored from last.ckpt" in capfd.readouterr().err
    assert run.curve_file.read_bytes() == curve
    assert_repaired(twin, trained, ["metrics.csv"], capfd)


def copy(source: str, target: str) -> None:
    """Copy as shutil does, but also pipes and sparse files."""
    if Path(source).is_fifo():
        os.mkfifo(target)
    elif Path(source).stat().st_size < 2**30:
        shutil.copy2(source, target)
    else:
        huge(Path(target))


@cases(CURVE)
def test_a_damaged_curve_without_a_checkpoint(damage: Damage, output: Path, trained: Path, capfd: Any) -> None:
    run = run_of(RUN, output)
    damage(run.curve_file)
    run.checkpoint.unlink()
    assert_only_named(output, run.curve_file)
    assert_repaired(output, trained, ["metrics.csv"], capfd)


@cases(CHECKPOINT)
def test_a_damaged_checkpoint(damage: Damage, trained: Path, tmp_path: Path, capfd: Any) -> None:
    """It does not affect reading; an interrupted run starts over."""
    shutil.copytree(trained / "cut", tmp_path / "outputs")
    run = run_of(RUN, tmp_path / "outputs")
    damage(run.checkpoint)
    assert len(read(tmp_path / "outputs").runs) == 2
    assert_repaired(tmp_path / "outputs", trained, ["last.ckpt"], capfd)
    assert os.path.lexists(run.directory / "last.ckpt.damaged")


def test_intact_files_are_not_damaged(trained: Path) -> None:
    for each in ("finished", "cut"):
        for settings_ in (RUN, OTHER):
            assert run_of(settings_, trained / each).damage() == {}
    assert not Run(trained).damage()


def test_a_curve_without_a_record_is_not_restored(output: Path) -> None:
    """This is the state while another process clears the run."""
    run = run_of(RUN, output)
    run.record_file.unlink()
    run.curve_file.write_text("epoch\n")
    with pytest.raises(Damaged):
        restore_curve(run)
    assert run.curve_file.read_text() == "epoch\n"


@pytest.mark.parametrize("how", ["recipe 4", "a record of version 0.1"])
def test_a_run_of_another_recipe_is_left_out_and_not_called_damaged(
    how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, _ = cell(tmp_path, "sgd", 64, 0.05, [0.9, 0.91])
    record = json.loads(run.record_file.read_bytes())
    if how == "recipe 4":
        record["recipe"] = 4
    else:
        del record["recipe"], record["settings"]["normalize"]
    run.record_file.write_text(json.dumps(record))
    assert run.damage() == {}
    assert not run.ended
    page = report([f"output_dir={tmp_path}"])
    assert "1 run in 1 cell of 1 seed" in page.read_text()
    assert capfd.readouterr().err == "1 run of another recipe (see CHANGELOG.md) left out\n"


@pytest.mark.parametrize("change", [{"validation_accuracy": 0.9999}, {"validation_accuracy": None}])
def test_validation_figures_are_checked_too(change: dict[str, float | None], tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.9], validation=[0.8])
    assert run.damage() == {}
    figures = {key: value for key, value in (run.record()["figures"] | change).items() if value is not None}
    run.update(figures=figures)
    assert len(run.damage()) == 1
    assert not run.ended
