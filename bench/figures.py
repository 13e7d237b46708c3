"""The figures of README.md: runs what its table names on this commit and writes the rows, between marks in the file.

    .venv/bin/python -m bench.figures                             (the demo, with and without Chromium)
    .venv/bin/python -m bench.figures --faces DIR --all           (on real faces, disturbed, replayed too)

A row that was not measured in a run stays as it was, with its date. Refuses a checkout with changes: figures belong to
a commit. `--check` runs nothing and says whether the marks and rows are there.
"""

import argparse
import datetime as dt
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import disturb
from bench.report import ROOT, describe_machine, find_commit, list_versions

README = ROOT / "README.md"
EXAMPLE, TABLE = "demo", "figures"  # the two marked places
NO_CHROMIUM = "/nonexistent"
SEEDS = (1, 2, 3, 4, 5)
SHOWN = ("pages", "listings", "samples", "faces")
REFUSED = ("archive_name_unsafe", "image_too_large")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table. `command` tells it from the others."""

    command: str
    text: str

    def write(self, stamp: str) -> str:
        return f"| {self.command} | {self.text} | {stamp} |"


def run_demo(
    folder: Path, name: str, options: list[str], *, port: int | None = None, chromium: bool = True
) -> dict[str, Any]:
    """One demo to its end; its figures. A second run on a state folder adds nothing only with the ports of the first:
    they are part of the markets' addresses. Raises RuntimeError where it did not end well."""
    file = folder / f"{name}.json"
    environ = {} if chromium else {"FACEWARDEN_CRAWL_CHROMIUM": NO_CHROMIUM}
    disturb.run_demo(folder / name, port or disturb.find_ports(), [*options, "--json", str(file)], more=environ)
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return figures


def measure_small(folder: Path) -> tuple[list[Row], dict[str, Any]]:
    """The small demo with a browser, once more on the same folder, and without a browser; the first's figures."""
    port = disturb.find_ports()
    first, again = (run_demo(folder, "first", [], port=port) for _ in range(2))
    bare = run_demo(folder, "bare", [], chromium=False)
    added = again["samples"] - first["samples"]
    rows = []
    if first["markets"]["spa"] == "crawled":
        text = f"{tell_alerts(first)}; {first['seconds']:.0f} s once installed, {again['seconds']:.0f} s for a second"
        text += f" run, which adds {added or 'nothing'} new"
        rows.append(Row(command="`./facewarden demo --exit` (Chromium)", text=text))
    text = f"{tell_alerts(bare)}; {bare['seconds']:.0f} s"
    rows.append(Row(command="`./facewarden demo --exit` (no Chromium)", text=text))
    return rows, first


def tell_alerts(figures: dict[str, Any]) -> str:
    return f"{figures['found_alerts']} of {figures['expected_alerts']} alerts, {figures['false_alerts']} false"


def measure_faces(folder: Path, faces: Path) -> list[Row]:
    options = ["--faces", str(faces), "--people", "50", "--images", "2000"]
    runs = [run_demo(folder, f"seed-{seed}", [*options, "--seed", str(seed)]) for seed in SEEDS]
    recall = [100 * run["recall_photos"] for run in runs]
    false = [run["false_alerts"] for run in runs]
    missed = [run["people_expected"] - run["people_alerted"] for run in runs]
    speed = [run["samples"] / run["seconds"] for run in runs]
    text = (
        f"{tell_range(recall, 1)} % of the photos found (mean {statistics.mean(recall):.1f}), "
        f"{tell_range(false, 0)} false alerts (mean {statistics.mean(false):.1f}), "
        f"{tell_range(missed, 0)} of 50 people missed (mean {statistics.mean(missed):.1f}); "
        f"{tell_range(speed, 0)} images a second from start to verified bundle"
    )
    return [Row(command="`./facewarden demo --faces lfw --people 50 --images 2000 --exit`, `--seed` 1 to 5", text=text)]


def tell_range(values: list[float], digits: int) -> str:
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def measure_disturbed(folder: Path, faces: Path) -> list[Row]:
    table = run_bench("disturb", folder, ["--faces", str(faces)])
    same = not table["lost"] and not table["extra"]
    alone, disturbed = table["alone"]["seconds"], table["disturbed"]["seconds"]
    text = (
        f"{'the same' if same else 'NOT the same'} {table['rows']:,} rows as an undisturbed run; "
        f"{disturbed:.0f} s instead of {alone:.0f}"
    )
    command = "`.venv/bin/python -m bench.disturb --faces lfw` (all workers killed five times, Redis emptied twice, "
    command += "PostgreSQL killed once)"
    return [Row(command=command, text=text)]


def measure_replayed(folder: Path) -> list[Row]:
    table = run_bench("replay", folder, [])
    given = [good for found in table.values() for good in found["given_back_as_archived"].values()]
    shown = [found["picture_through_the_replayed_page"] for found in table.values()]
    text = (
        f"{sum(given)} of {len(given)} exported records replayed byte for byte, "
        f"{sum(map(bool, shown))} of {len(shown)} pictures through the replayed page"
    )
    command = (
        "`.venv/bin/python -m bench.replay` (a page as HTML and one from the browser, each with its picture; pywb "
    )
    command += "in a venv of its own)"
    return [Row(command=command, text=text)]


def run_bench(name: str, folder: Path, options: list[str]) -> dict[str, Any]:
    file = folder / f"bench-{name}.json"
    subprocess.run([sys.executable, "-P", "-m", f"bench.{name}", "--json", str(file), *options], cwd=ROOT, check=False)
    if not file.exists():
        raise SystemExit(f"bench.{name} wrote no figures")
    table: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return table


# -- README.md --------------------------------------------------------------------------------------------------------


def replace_marked(text: str, name: str, content: str) -> str:
    """The file with what stands between a mark and the next `<!-- end -->` renewed. Raises ValueError."""
    pattern = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)", re.S)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"README.md has no mark <!-- {name}: ... -->, or several")
    return pattern.sub(lambda found: f"{found[1]}{content}{found[2]}", text)


def read_marked(text: str, name: str) -> str:
    found = re.search(rf"<!-- {name}: [^\n]*-->\n(.*?)<!-- end -->", text, re.S)
    if found is None:
        raise ValueError(f"README.md has no mark <!-- {name}: ... -->")
    return found[1]


def renew_table(old: str, rows: list[Row], stamp: str) -> str:
    """The table with these rows renewed by their command; rows that were not measured stay."""
    lines = [line for line in old.splitlines() if line.startswith("| `")]
    for row in rows:
        start = f"| {row.command} |"
        number = next((number for number, line in enumerate(lines) if line.startswith(start)), None)
        if number is None:
            lines.append(row.write(stamp))
        else:
            lines[number] = row.write(stamp)
    return "\n".join(["", "| command | what came of it | commit, day |", "|---|---|---|", *lines, "", ""])


def write_example(figures: dict[str, Any]) -> str:
    """What the demo prints, shortened, as README.md shows it."""
    lines = [(name, figures[name]) for name in SHOWN]
    refused = figures["refused"]
    lines += [(f"refused: {code}", refused.get(code, 0)) for code in REFUSED]
    lines.append(("alerts expected / found / false",
                  " / ".join(str(figures[f"{name}_alerts"]) for name in ("expected", "found", "false"))))  # fmt: skip
    lines.append(("cut", f"{figures['cut']:.3f} from {figures['calibration']}"))
    lines.append(("time: everything", f"{figures['seconds']:.1f} s"))
    lines.append(("evidence bundle", "verified" if figures["bundle_verified"] else "NOT VERIFIED"))
    return "\n" + "".join(f"    {name:<33} {value}\n" for name, value in lines) + "\n"


def describe() -> str:
    """This machine in a line."""
    machine, versions = describe_machine(), list_versions()
    return f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']:.0f} GB, Python {versions['python']}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, help="real faces, one folder a person: measure the rows on them")
    parser.add_argument("--all", action="store_true", help="the disturbed run and the replay too")
    parser.add_argument("--check", action="store_true", help="only: are the marks there?")
    args = parser.parse_args(arguments)
    text = README.read_text(encoding="utf-8")
    old = read_marked(text, TABLE)
    read_marked(text, EXAMPLE)
    if args.check:
        return 0
    commit = find_commit()
    if not commit or commit.endswith("+"):
        raise SystemExit("commit your changes first: the figures belong to a commit")
    folder = Path(tempfile.mkdtemp(prefix="facewarden-figures-"))
    try:
        rows, first = measure_small(folder)
        more: list[Callable[[], list[Row]]] = []
        if args.faces:
            more.append(lambda: measure_faces(folder, args.faces))
        if args.faces and args.all:
            more.append(lambda: measure_disturbed(folder, args.faces))
        if args.all:
            more.append(lambda: measure_replayed(folder))
        for measure in more:
            rows += measure()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    stamp = f"{commit[:12]}, {dt.datetime.now(dt.UTC):%Y-%m-%d}"
    text = replace_marked(text, TABLE, f"\nNewest rows: {describe()}.\n" + renew_table(old, rows, stamp))
    README.write_text(replace_marked(text, EXAMPLE, write_example(first)), encoding="utf-8")
    for row in rows:
        print(row.write(stamp))
    return 0


if __name__ == "__main__":
    sys.exit(main())
