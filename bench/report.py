"""What benches share: figures with their units and bars in, a table and a JSON file out, the machine described in both.

report = Report("match", args)
report.add("match.ratio_blas_100k", 1.52, "x", bar=">= 1.4")
report.show()
report.write(args.json)
"""

import argparse
import datetime as dt
import importlib.metadata
import json
import operator
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vault.files import write_whole

ROOT = Path(__file__).resolve().parents[1]
LAST = ROOT / "bench/out/settings.json"  # of the last run of each bench that compares them
LIBRARIES = ("numpy", "faiss-cpu", "onnxruntime", "openvino", "opencv-python-headless", "insightface", "psycopg")
FLAGS = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8",
         "amx_bf16", "asimd", "asimddp", "i8mm", "bf16")  # fmt: skip
COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One number. `bar` reads like ">= 1.4"; empty where there is none."""

    name: str
    value: float
    unit: str
    bar: str = ""

    @property
    def passed(self) -> bool | None:
        """None where there is no bar."""
        if not self.bar:
            return None
        sign, _, limit = self.bar.partition(" ")
        return COMPARE[sign](self.value, float(limit))


class Report:
    """`args`: what the bench was asked for, kept in the JSON."""

    def __init__(self, name: str, args: argparse.Namespace | None = None) -> None:
        self.name = name
        self.started = dt.datetime.now(dt.UTC)
        self.arguments = {key: show_argument(value) for key, value in vars(args).items()} if args else {}
        self.figures: dict[str, Figure] = {}
        self.data: dict[str, Any] = {}
        self.differences: list[str] = []
        self._settings: dict[str, Any] = {}

    def add(self, figure: str, value: float, unit: str, *, bar: str = "") -> "Report":
        """Keep one figure. Its full name goes into `figures`; a second value under one name is a mistake."""
        if figure in self.figures:
            raise ValueError(f"{figure} was measured already")
        self.figures[figure] = Figure(name=figure, value=value, unit=unit, bar=bar)
        return self

    def settings(self, values: dict[str, Any]) -> "Report":
        """What the figures were measured with: runtime, precision, detector size, mirrored or not, threads."""
        self._settings |= values
        return self

    def hold_settings(self, last: Path = LAST) -> "Report":
        """Fail if the settings are not those that the other benches which call this had last: `embed`, `accuracy` and
        `leak`, whose figures stand beside each other."""
        self.differences = compare_settings(self.name, self._settings, last)
        return self

    def describe(self, **values: Any) -> "Report":
        """What the figures were measured on."""
        self.data |= values
        return self

    @property
    def failed(self) -> list[str]:
        return [figure.name for figure in self.figures.values() if figure.passed is False]

    @property
    def exit_code(self) -> int:
        """1 where a bar was missed or the settings are not those of the other benches."""
        return int(bool(self.failed or self.differences))

    def as_table(self) -> dict[str, Any]:
        return {
            "bench": self.name,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round((dt.datetime.now(dt.UTC) - self.started).total_seconds(), 1),
            "commit": find_commit(),
            "machine": describe_machine(),
            "versions": list_versions(),
            "arguments": self.arguments,
            "settings": self._settings,
            "data": self.data,
            "figures": {figure.name: figure.value for figure in self.figures.values()},
            "units": {figure.name: figure.unit for figure in self.figures.values()},
            "bars": {figure.name: figure.bar for figure in self.figures.values() if figure.bar},
            "failed": self.failed,
            "differences": self.differences,
        }

    def write(self, path: Path | None) -> None:
        """Write the JSON; nothing where no path was asked for."""
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.as_table(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def show(self) -> None:
        console = Console(highlight=False, markup=False, emoji=False, width=150)
        machine = describe_machine()
        console.print(f"{machine['cpu']}, {machine['cores']} cores, {' '.join(machine['flags'])}")
        for name, value in (*self._settings.items(), *self.data.items()):
            console.print(f"  {name}: {value}")
        grid = Table("figure", "value", "unit", "bar", "")
        for figure in self.figures.values():
            verdict = {None: "", True: "met", False: "MISSED"}[figure.passed]
            grid.add_row(figure.name, f"{figure.value:,.5g}", figure.unit, figure.bar, verdict)
        console.print(grid)
        for difference in self.differences:
            console.print(f"FAILED: {difference}. Run that one again, or this one with its settings.")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that every bench has."""
    parser.add_argument("--json", type=Path, help="write machine, versions, data and figures to this file")
    parser.add_argument("--quick", action="store_true", help="smaller: ends within 50 s")


def add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="one folder a person (default: lfw under FACEWARDEN_EVAL_DATA)")


def find_folder(given: Path | None) -> Path:
    """The folder of labelled faces. Raises SystemExit where there is none."""
    data = os.environ.get("FACEWARDEN_EVAL_DATA")
    folder = given or (Path(data) / "lfw" if data else None)
    if folder is None or not folder.is_dir():
        raise SystemExit("no folder of faces: name one with --folder, or set FACEWARDEN_EVAL_DATA")
    return folder


def show_argument(value: object) -> object:
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def describe_machine() -> dict[str, Any]:
    """CPU model, cores that this process may use, flags that matter for speed, memory in GB, cache sizes in kB."""
    known: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            known.setdefault(name.strip(), value.strip())
    except OSError:  # not Linux
        pass
    flags = set((known.get("flags") or known.get("Features") or "").split())
    return {
        "cpu": known.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "caches_kb": read_caches(),
        "system": f"{platform.system()} {platform.release()}",
    }


def read_caches() -> dict[str, int]:
    sizes = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            name = f"L{(folder / 'level').read_text().strip()}{(folder / 'type').read_text().strip()[0].lower()}"
            sizes[name] = int((folder / "size").read_text().strip().removesuffix("K"))
        except (OSError, ValueError):
            continue
    return sizes


def list_versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def find_commit() -> str:
    """The commit of this checkout, with a + where something tracked was changed; "" outside of one."""
    try:
        text = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"], cwd=ROOT,
                              capture_output=True, text=True, check=True).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return text.strip()


def alternate(runs: int, measures: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Run each measure `runs` times in turn, so that what disturbs the machine disturbs all of them; medians."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(runs):
        for name, measure in measures.items():
            values[name].append(measure())
    return {name: statistics.median(found) for name, found in values.items()}


def median_ratio(above: Iterable[float], below: Iterable[float]) -> float:
    """The median of the ratios of runs that lay side by side."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def compare_settings(bench: str, settings: dict[str, Any], last: Path) -> list[str]:
    """What differs from the last runs of the other benches that keep their settings here, in words; keeps these."""
    try:
        kept = json.loads(last.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none ran here yet
        kept = {}
    differences = [
        f"{name} is {settings[name]!r} here and was {others[name]!r} in the last run of {other}"
        for other, others in sorted(kept.items())
        for name in sorted(settings.keys() & others.keys())
        if other != bench and settings[name] != others[name]
    ]
    write_whole(last, json.dumps({**kept, bench: settings}, indent=1).encode())
    return differences
