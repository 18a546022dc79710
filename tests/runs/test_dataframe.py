import math
from pathlib import Path

import pandas as pd
import pytest

from src.config.settings import ConfigChoices
from src.runs.dataframe import choose, read
from tests.reporting.synthetic import cell


def test_frames_have_a_row_per_run_and_per_epoch(tmp_path: Path) -> None:
    runs = cell(tmp_path, "sgd", 64, 0.05, [[0.5, 0.75], [0.6, 0.8]], epochs=2)
    cell(tmp_path, "adam", 256, 0.0005, [None])
    frames = read(tmp_path)
    row = frames.runs.loc[str(runs[1].directory)]
    assert row[["optimizer", "lr", "batch_size", "seed", "status"]].tolist() == ["sgd", 0.05, 64, 1, "finished"]
    assert row[["test_accuracy", "optimizer.momentum", "version_torch", "epochs_done"]].tolist() == [
        0.8,
        0.9,
        "2.15.0",
        2,
    ]
    assert frames.curves.loc[str(runs[1].directory)].test_accuracy.to_dict() == {1: 0.6, 2: 0.8}
    assert len(frames.curves) == 2 + 2 + 20
    assert frames.runs.cell.nunique() == frames.runs.grid.nunique() == 2
    assert frames.damaged == {}


def test_damaged_files_are_named_and_left_out(tmp_path: Path) -> None:
    fine, no_record, no_curve, short, other = cell(tmp_path, "sgd", 64, 0.05, [0.9] * 5)
    no_record.record_file.write_text('{"status": "finished"')
    no_curve.curve_file.unlink()
    short.curve_file.write_text("\n".join(short.curve_file.read_text().splitlines()[:-1]))
    other.directory.rename(other.directory.with_name("sgd-bs64-lr0.05-seed4-00000000"))
    frames = read(tmp_path)
    assert frames.runs.index.tolist() == [str(fine.directory)]
    assert {path.parent.name for path in frames.damaged} == {
        no_record.directory.name, no_curve.directory.name, short.directory.name, "sgd-bs64-lr0.05-seed4-00000000",
    }  # fmt: skip
    assert any("another version" in why for why in frames.damaged.values())


@pytest.mark.parametrize("damage", [{"sessions": []}, {"figures": None}, {"settings": 3}, {"names": {}}])
def test_an_invalid_record_is_named(damage: dict[str, object], tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.9])
    run.update(**damage)
    assert read(tmp_path).damaged.keys() == {run.record_file}
    assert len(read(tmp_path).runs) == 0


def test_an_invalid_curve_is_named(tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "sgd", 64, 0.05, [0.9])
    run.update(status="interrupted")
    assert len(read(tmp_path).curves) == 20
    run.curve_file.write_text("loss\n0.5\n")
    assert read(tmp_path).damaged.keys() == {run.curve_file}


def test_non_finite_values_are_kept(tmp_path: Path) -> None:
    (run,) = cell(tmp_path, "adam", 64, 0.05, [None])
    record = run.record()
    record["figures"]["test_loss"] = None
    rows = run.read()[1]
    run.write(record)
    run.write_curve([*rows[:-1], rows[-1] | {"test_loss": math.nan}])
    frames = read(tmp_path)
    assert math.isnan(frames.runs.test_loss.iloc[0])
    assert frames.curves.test_loss.isna().sum() == 1


def test_an_empty_folder_has_no_runs(tmp_path: Path) -> None:
    frames = read(tmp_path)
    assert len(frames.runs) == len(frames.curves) == 0


def test_a_selection_lists_present_and_missing_runs(tmp_path: Path) -> None:
    from src.config.settings import Settings

    runs = cell(tmp_path, "sgd", 64, 0.05, [0.9, 0.91])
    settings = [Settings(**run.record()["settings"]) for run in runs]
    wanted = [(each, ConfigChoices("lenet", "sgd", "constant")) for each in settings]
    runs[0].record_file.unlink()
    for chosen in (
        choose(read(tmp_path), tmp_path, wanted),
        choose(read(tmp_path / "none"), tmp_path / "none", wanted),
    ):
        assert len(chosen.runs) == 2
        assert chosen.runs.seed.tolist() in ([1, 0], [0, 1])
    assert choose(read(tmp_path), tmp_path, wanted).runs.status.tolist() == ["finished", "to do"]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_frames_can_be_saved(suffix: str, tmp_path: Path) -> None:
    from src.report import report

    cell(tmp_path, "sgd", 64, 0.05, [0.9, 0.91])
    cell(tmp_path, "adam", 64, 0.05, [0.9, None])
    folder = report([f"output_dir={tmp_path}"]).parent
    kept = (
        pd.read_parquet(folder / "runs.parquet")
        if suffix == "parquet"
        else pd.read_csv(folder / "runs.csv", index_col=0)
    )
    original = read(tmp_path).runs
    assert kept.index.tolist() == original.index.tolist()
    for column in ("test_accuracy", "lr", "seed", "optimizer"):
        assert kept[column].tolist() == pytest.approx(original[column].tolist(), nan_ok=True)
