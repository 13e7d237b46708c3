"""What is held for review is listed, released or dropped by a command, always with a reason."""

import json
from uuid import UUID

import pytest

from tests.cli.test_commands import facewarden
from tests.samples import count, run_steps
from tests.workers.test_holds import held  # noqa: F401  a fixture
from workers.context import Context


def test_what_is_held_is_listed_by_person_and_listing_with_its_end(context: Context, held: dict[UUID, int]) -> None:  # noqa: F811
    rows = json.loads(facewarden(context.settings, "alerts", "--held", "--json").stdout)
    assert {row["number"] for row in rows} == set(held.values())
    assert {(row["reason"], row["faces"], row["source"]) for row in rows} == {("hub_suspect", 1, "test-source")}
    shown = facewarden(context.settings, "alerts", "--held").stdout
    assert shown.startswith("3 finds held for review\n")
    assert all(f"person {row['person']} in " in shown and f"dropped {row['ends']} if nobody" in shown for row in rows)


def test_one_is_released_and_another_dropped_by_their_numbers(context: Context, held: dict[UUID, int]) -> None:  # noqa: F811
    first, second, _third = held.values()
    done = facewarden(context.settings, "alerts", "--release", str(first), "--why", "the same scar")
    assert (done.returncode, done.stdout[:9]) == (0, "Released:"), done.stderr
    done = facewarden(context.settings, "alerts", "--drop", str(second), "--why", "a statue")
    assert done.stdout == "Dropped: 1 match; nobody is told.\n"
    run_steps(context)
    assert count(context.conn, "select count(*) from delivery where kind = 'alert'") == 1
    assert len(json.loads(facewarden(context.settings, "alerts", "--held", "--json").stdout)) == 1
    again = facewarden(context.settings, "alerts", "--release", str(first), "--why", "again")
    assert (again.returncode, "hold_unknown" in again.stderr) == (2, True)


@pytest.mark.parametrize("why", [(), ("--why", ""), ("--why", "  ")], ids=["none", "empty", "blank"])
@pytest.mark.parametrize("what", ["--release", "--drop"])
def test_nothing_is_decided_without_a_reason(
    context: Context,
    held: dict[UUID, int],  # noqa: F811
    what: str,
    why: tuple[str, ...],
) -> None:
    done = facewarden(context.settings, "alerts", what, str(next(iter(held.values()))), *why)
    assert (done.returncode, "why_missing" in done.stderr, "fix:" in done.stderr) == (2, True, True)
    assert count(context.conn, "select count(*) from match where held is not null") == 3


def test_nothing_held_is_said(context: Context) -> None:
    assert facewarden(context.settings, "alerts", "--held").stdout == "0 finds held for review\n"
