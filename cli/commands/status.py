"""what runs, what waits, what was refused, and the cut in use

example:
  ./facewarden status
  ./facewarden status --json      (pid and role of every process, row counts by state)
"""

import argparse
import contextlib
import datetime as dt
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import psutil

from cli.servers import find_running
from cli.setup import require_deployment
from cli.supervisor import read_state
from matcher.calibration import Calibration, Cut, derive_cut, find_shortfall, load_calibration, prefer_own
from vault.disks import list_disks
from vault.errors import FacewardenError
from vault.formats import say_counts
from vault.letters import count_of
from vault.log import clean_text
from vault.settings import Settings, mask_passwords
from vault.store import DatabaseError, connect
from vault.store.alerts import get_own_calibration
from vault.store.faces import count_kept_templates
from vault.store.hunts import count_hunts
from vault.store.passed_over import count_passed_over
from vault.store.pauses import list_pauses
from vault.store.samples import count_formats, count_partial, count_refusals
from vault.store.segments import count_segments
from vault.store.status import count_live_templates, count_states, list_sources
from vault.terminal import Grid, Screen, say_json

# how processes that our children start are known, by a word of their command line
ROLES = (
    ("boxed.py", "box"),
    ("vault.guard", "guard"),
    ("cli/demo/markets", "market"),
    ("run-driver", "browser-driver"),
    ("chrom", "browser"),
    ("cli crawl", "crawl"),
    ("postgres", "postgres-backend"),
)
MANY = ("postgres-backend", "browser")  # shown as one line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    require_deployment(settings)
    state = read_state(settings.home)
    table: dict[str, Any] = {
        "home": str(settings.home),
        "running": state is not None,
        "processes": list_processes(state) if state else [],
    }
    with contextlib.suppress(OSError):
        table["full_disks"] = [disk.describe() for disk in list_disks(settings) if disk.is_low]
    if state:
        table |= {name: mask_passwords(str(state[name])) for name in ("database_url", "redis_url", "web")}
    if state or settings.servers.database_url:
        try:
            table |= describe_rows(find_running(settings))
        except FacewardenError as exc:
            table["problem"] = f"{exc.stable_code}: {mask_passwords(exc.message)}"
        except DatabaseError as exc:  # it is being set up, or has just gone away
            table["problem"] = f"store_refused: {mask_passwords(str(exc).splitlines()[0])}"
    if args.json:
        say_json(table, indent=1, default=show_value)
    else:
        show(table)
    return 0 if state or "rows" in table else 1


def list_processes(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Every process of the running supervisor, with role, pid and resident memory in MB."""
    known = {entry["pid"]: entry for entry in state["processes"] if entry["pid"]}
    found: list[dict[str, Any]] = []
    try:
        supervisor = psutil.Process(state["supervisor"])
        everything = [supervisor, *supervisor.children(recursive=True)]
    except psutil.Error:
        return found
    for process in everything:
        try:
            entry = known.get(process.pid, {})
            command = " ".join(process.cmdline())
            role = entry.get("role") or ("supervisor" if process.pid == supervisor.pid else name_role(command))
            found.append(
                {
                    "pid": process.pid,
                    "role": role,
                    "name": entry.get("name", role),
                    "parent": process.ppid(),
                    "restarts": entry.get("restarts", 0),
                    "rss_mb": round(process.memory_info().rss / 1e6, 1),
                }
            )
        except psutil.Error:
            continue
    return found


def name_role(command: str) -> str:
    return next((role for word, role in ROLES if word in command), "other")


def describe_rows(settings: Settings) -> dict[str, Any]:
    """Row counts by state, refusals by code, sources, kept templates, and the cut. Raises FacewardenError."""
    with connect(settings) as conn:
        templates = count_live_templates(conn, settings.faces.pack)
        pack = settings.faces.pack
        calibration = prefer_own(load_calibration(pack), get_own_calibration(conn, pack))
        cut = derive_cut(
            calibration,
            false_alerts=settings.matching.false_alerts_per_day,
            faces=settings.matching.faces_per_day,
            templates=templates,
        )
        return {
            "pauses": [asdict(each) for each in list_pauses(conn)],
            "rows": count_states(conn),
            "refused": count_refusals(conn),
            "formats_not_read": count_formats(conn),
            "partly_seen": count_partial(conn),
            "passed_over": count_passed_over(conn),
            "sources": list_sources(conn),
            "strangers_templates": count_kept_templates(conn),
            "gallery": {"templates": templates},
            "segments": count_segments(conn),
            "hunts": count_hunts(conn),
            "cut": describe_cut(calibration, cut),
        }


def describe_cut(calibration: Calibration, cut: Cut) -> dict[str, Any]:
    """The cut in use; where the data cannot support the wanted one, what is missing and what that one would cost."""
    table: dict[str, Any] = {
        "score": round(cut.score, 4),
        "false_match_rate": cut.rate,
        "interval": cut.interval,
        "wanted_rate": cut.wanted_rate,
        "supported_by_data": cut.supported,
        "calibration": cut.calibration_id,
    }
    if not cut.supported:
        lacking = find_shortfall(calibration, cut)
        table |= {
            "sent_score": round(cut.sent_score, 4),
            "missing_pairs": lacking.missing_pairs,
            "missing_people": lacking.missing_people,
            "mates_missed": lacking.supported_missed,
            "mates_missed_at_wanted": lacking.wanted_missed,
        }
    return table


def show_value(value: object) -> str:
    return value.isoformat(sep=" ", timespec="seconds") if isinstance(value, dt.datetime) else str(value)


def fold_processes(processes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of a kind that there are many of as one row: how many, and the largest of them."""
    rows = [each for each in processes if each["role"] not in MANY]
    for role in MANY:
        found = [each for each in processes if each["role"] == role]
        if found:
            most = max(each["rss_mb"] for each in found)
            rows.append({"role": role, "name": f"{len(found)} processes", "pid": "", "restarts": "",
                         "rss_mb": f"{most} at most"})  # fmt: skip
    return rows


def show(table: dict[str, Any]) -> None:
    console = Screen()
    console.print(f"{table['home']}: {'running' if table['running'] else 'not running (./facewarden up starts it)'}")
    for name in ("web", "database_url", "redis_url"):
        if name in table:
            console.print(f"  {name.removesuffix('_url'):9} {table[name]}")
    if "problem" in table:
        console.print(f"problem: {table['problem']}")
    if table["processes"]:
        grid = Grid("role", "name", "pid", "restarts", "MB")
        for each in fold_processes(table["processes"]):
            grid.add_row(*(str(each[name]) for name in ("role", "name", "pid", "restarts", "rss_mb")))
        console.print(grid)
    for disk in table.get("full_disks", ()):
        console.print(f"disk_full: {disk}: what can wait waits; free some of it, all goes on by itself")
    if "rows" not in table:
        return
    for pause in table["pauses"]:
        where = f"{pause['step']} on {pause['host']} since {show_value(pause['since'])}"
        console.print(f"paused: {where}: {pause['code']}: {clean_text(pause['reason'], 200)}")
    grid = Grid("rows", "ready", "running", "done", "quarantined")
    for name, states in table["rows"].items():
        grid.add_row(name, *(str(states.get(key, 0)) for key in ("ready", "running", "done", "quarantined")))
    console.print(grid)
    if table["refused"]:
        console.print("refused: " + ", ".join(describe_refusals(table["refused"], table["formats_not_read"])))
    partly = table["partly_seen"]
    if partly["truncated"]:
        console.print(f"truncated pictures, seen as far as they go: {partly['truncated']}")
    if partly["faces_left_out"]:
        crowded = partly["pictures_with_faces_left_out"]
        console.print(
            f"faces left out: {partly['faces_left_out']} (pictures that hold more than are looked at: {crowded})"
        )
    for source in table["sources"]:
        reason = f" ({source['reason']})" if source["reason"] else ""
        last = show_value(source["last_crawl_at"]) if source["last_crawl_at"] else "never"
        console.print(f"source {source['name']}: {source['health']}{reason}, {source['visibility']}, "
                      f"{count_of(source['pages'], 'page')}, {count_of(source['listings'], 'listing')}, "
                      f"last crawled {last}")  # fmt: skip
        if passed := table["passed_over"].get(source["name"]):
            console.print(f"  passed over: {say_counts(passed)}")
    kept, cut = table["strangers_templates"], table["cut"]
    console.print(f"strangers' templates kept: {kept['kept']}, of them too long: {kept['overdue']}")
    index, hunts = table["segments"], table["hunts"]
    console.print(
        f"index of kept faces: {index['faces']} in {count_of(index['segments'], 'segment')}, "
        f"{index['fresh']} in none yet"
    )
    if hunts:
        console.print("hunts: " + ", ".join(f"{number} {state}" for state, number in sorted(hunts.items())))
    low, high = cut["interval"]
    console.print(f"cut {cut['score']} for a false match rate of {cut['false_match_rate']:.1e} "
                  f"(95 %: {low:.1e} to {high:.1e}; {cut['calibration']})")  # fmt: skip
    if not cut["supported_by_data"]:
        show_shortfall(console, cut)


def describe_refusals(refused: dict[str, int], formats: dict[str, int]) -> Iterator[str]:
    """Each code with its number; the formats that are not read by name."""
    for code, count in refused.items():
        names = ", ".join(f"{name} {number}" for name, number in formats.items())
        yield f"{code} {count}" + (f" ({names})" if code == "format_not_allowed" and names else "")


def show_shortfall(console: Screen, cut: dict[str, Any]) -> None:
    console.print(
        f"  the budget asks for {cut['wanted_rate']:.1e}, which the calibration data cannot support: "
        f"{count_of(cut['missing_pairs'], 'impostor pair')} of "
        f"{count_of(cut['missing_people'], 'more person', 'more people')} are missing"
    )
    console.print(f"  so matches from {cut['score']} to {cut['sent_score']} are held for review, not sent")
    if cut["mates_missed"] is not None:
        console.print(
            f"  mates below the cut: {cut['mates_missed']:.1%}; below what would be sent: "
            f"{cut['mates_missed_at_wanted']:.1%} (of the calibration's)"
        )
