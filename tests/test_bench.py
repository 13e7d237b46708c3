"""The benches' report: figures that stand beside each other were made with the same settings, or the run fails."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.report import Report
from workers.faces.engine import Engine

SETTINGS = {"runtime": "openvino", "precision": "bf16", "detector_size": "0.64", "mirrored_probe": False}


def run_bench(name: str, last: Path, **settings: Any) -> Report:
    return Report(name).settings({**SETTINGS, **settings}).hold_settings(last)


def test_a_bench_with_the_settings_of_the_others_passes_and_so_does_the_first(tmp_path: Path) -> None:
    last = tmp_path / "out/settings.json"
    for name in ("embed", "accuracy", "leak", "embed"):
        assert run_bench(name, last, **({"recogniser": "x"} if name == "accuracy" else {})).exit_code == 0


@pytest.mark.parametrize("changed", SETTINGS)
def test_a_bench_with_another_setting_fails_and_says_which(
    tmp_path: Path, changed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    last = tmp_path / "settings.json"
    run_bench("accuracy", last)
    report = run_bench("leak", last, **{changed: "other"})
    assert report.exit_code == 1 and report.failed == []
    report.write(tmp_path / "leak.json")
    (difference,) = json.loads((tmp_path / "leak.json").read_text())["differences"]
    assert changed in difference and "'other' here" in difference and "run of accuracy" in difference
    report.show()
    assert f"FAILED: {changed} is" in capsys.readouterr().out


def test_benches_that_are_all_run_again_with_new_settings_pass_again(tmp_path: Path) -> None:
    last, names = tmp_path / "settings.json", ("embed", "accuracy", "leak")
    for name in names:
        run_bench(name, last)
    codes = [run_bench(name, last, precision="f32").exit_code for name in (*names, *names)]
    assert codes == [1, 1, 0, 0, 0, 0]


def test_a_missed_bar_fails_too() -> None:
    assert Report("embed").add("x", 1.0, "x", bar=">= 2").exit_code == 1
    assert Report("embed").add("x", 2.0, "x", bar=">= 2").exit_code == 0


@pytest.mark.parametrize("text", ["", "{"])
def test_a_damaged_memory_is_none(tmp_path: Path, text: str) -> None:
    last = tmp_path / "settings.json"
    last.write_text(text)
    assert run_bench("leak", last).exit_code == 0
    assert json.loads(last.read_text()) == {"leak": SETTINGS}


def test_an_engine_tells_what_is_compared(engine: Engine) -> None:
    assert SETTINGS.keys() <= engine.describe().keys()
