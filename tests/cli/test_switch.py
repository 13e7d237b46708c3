"""A person pauses a source and lets it go on, with the reason, in their name."""

import json

import pytest

from cli.setup import name_user
from tests.cli.test_commands import facewarden
from tests.samples import make_listing
from vault.keys import Keys
from vault.settings import Settings
from vault.store import Connection
from vault.store.sources import get_source, save_health


@pytest.fixture
def source(conn: Connection, keys: Keys) -> str:
    make_listing(conn, "forum-3")
    return "forum-3"


def entries(conn: Connection) -> list[dict[str, str]]:
    rows = conn.execute("select entry from ledger order by ledger_id").fetchall()
    return [each["facts"] for (text,) in rows if (each := json.loads(text))["kind"] == "source"]


def test_a_source_is_paused_and_resumed_with_the_reason(settings: Settings, conn: Connection, source: str) -> None:
    done = facewarden(settings, "source", "pause", source, "--why", "the court asked us to wait")
    assert done.returncode == 0, done.stderr
    found = get_source(conn, source)
    assert found is not None
    assert (found.state, found.reason) == ("paused", "the court asked us to wait")
    (listed,) = json.loads(facewarden(settings, "source", "list", "--json").stdout)
    assert (listed["health"], listed["reason"]) == ("paused", "the court asked us to wait")
    assert "forum-3: if it may go on: ./facewarden source resume" in facewarden(settings, "source", "list").stdout
    again = facewarden(settings, "source", "pause", source, "--why", "once more")
    assert "is paused already: the court asked us to wait" in again.stdout
    done = facewarden(settings, "source", "resume", source, "--why", "the court has decided")
    assert done.stdout == "forum-3 is no longer paused (it was paused: the court asked us to wait)\n"
    found = get_source(conn, source)
    assert found is not None
    assert (found.state, found.reason) == ("active", "")
    assert "is not paused" in facewarden(settings, "source", "resume", source, "--why", "x").stdout
    about = {"about": "source:forum-3", "by": name_user()}
    assert entries(conn) == [
        {**about, "what": "paused", "why": "the court asked us to wait"},
        {**about, "what": "resumed", "why": "the court has decided"},
    ]


@pytest.mark.parametrize("why", ["", "   ", "\n"])
@pytest.mark.parametrize("action", ["pause", "resume"])
def test_no_reason_is_no_decision(settings: Settings, conn: Connection, source: str, action: str, why: str) -> None:
    done = facewarden(settings, "source", action, source, "--why", why)
    assert (done.returncode, "no reason is given" in done.stderr) == (2, True)
    assert entries(conn) == []


def test_a_source_that_is_not_there_is_named(settings: Settings, keys: Keys) -> None:
    done = facewarden(settings, "source", "pause", "nowhere", "--why", "x")
    assert done.returncode == 2
    assert "there is no source nowhere" in done.stderr


def test_the_list_says_what_to_do_about_a_login_wall(settings: Settings, conn: Connection, source: str) -> None:
    found = get_source(conn, source)
    assert found is not None
    save_health(conn, found.source_id, "login_wall", "asks for a login", None)
    done = facewarden(settings, "source", "list")
    assert done.returncode == 0, done.stderr
    assert "forum-3: it wants a login" in done.stdout
