"""What every row of a step needs is away for a while: the step pauses, no row is charged, nothing is erased."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cli.commands.status import describe_rows, show
from tests.samples import add_sample, count, enrol_person, make_listing, portrait
from tests.workers.test_steps import ends, pack
from vault.blobs import MARKER, blob_path
from vault.errors import Unavailable
from vault.records import PageKind
from vault.steps import Step
from vault.store.blobs import bind_folder, check_folder, get_place
from vault.store.pauses import list_pauses
from workers.app import take_turn
from workers.context import Context
from workers.drop_expired import drop_expired
from workers.embed_samples import embed_samples
from workers.pauses import Pauses

Trouble = Callable[[Path], AbstractContextManager[None]]


@contextmanager
def moved_away(folder: Path) -> Iterator[None]:
    away = folder.with_name("away")
    folder.rename(away)
    yield
    away.rename(folder)


@contextmanager
def empty(folder: Path) -> Iterator[None]:
    """As a mount point without its mount."""
    away = folder.with_name("away")
    folder.rename(away)
    folder.mkdir()
    yield
    folder.rmdir()
    away.rename(folder)


@contextmanager
def another(folder: Path) -> Iterator[None]:
    """As the mount of another deployment."""
    away = folder.with_name("away")
    folder.rename(away)
    folder.mkdir()
    (folder / MARKER).write_text(f"{uuid4()}\n")
    yield
    (folder / MARKER).unlink()
    folder.rmdir()
    away.rename(folder)


@contextmanager
def no_descriptors(folder: Path) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
    taken: list[int] = []
    with suppress(OSError):
        while True:
            taken.append(os.dup(0))
    yield
    for each in taken:
        os.close(each)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def failing(number: int) -> Trouble:
    @contextmanager
    def fail(folder: Path) -> Iterator[None]:
        real = os.open

        def open_or_fail(path: Any, *rest: Any, **options: Any) -> int:
            if str(path).startswith(str(folder)):
                raise OSError(number, os.strerror(number), str(path))
            return real(path, *rest, **options)

        os.open = open_or_fail
        yield
        os.open = real

    return fail


TROUBLES: dict[str, Trouble] = {
    "moved away": moved_away,
    "empty": empty,
    "of another deployment": another,
    "no descriptor left": no_descriptors,
    **{os.strerror(number): failing(number) for number in (errno.ESTALE, errno.EACCES, errno.ENOTCONN, errno.ENFILE)},
}
STEPS = {
    Step.EMBED_SAMPLES: (portrait("astronaut"), PageKind.IMAGE),
    Step.OPEN_ARCHIVES: (pack({"a.jpg": portrait("astronaut")}), PageKind.ARCHIVE),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_folder_of_blobs_that_is_away_pauses_the_step_and_costs_nothing(
    context: Context, trouble: str, step: Step
) -> None:
    if trouble == os.strerror(errno.ENFILE) and step is Step.OPEN_ARCHIVES:
        pytest.skip("archives are opened by another call, which the descriptors' limit covers")
    conn = context.conn
    content, kind = STEPS[step]
    bind_folder(conn, context.blobs)
    with context.box.batch() as child:
        child.probe("environment")  # the box starts before the trouble
    digest = add_sample(context, make_listing(conn), content, kind)
    with TROUBLES[trouble](context.blobs):
        for _ in range(6):
            context.pauses = Pauses()
            conn.execute("update sample set not_before = null")
            assert take_turn(context, step) == 0
        assert conn.execute("select state, attempts from sample").fetchone() == ("ready", 0)
        assert count(conn, "select count(*) from key where wrapped is null") == 0
        (told,) = list_pauses(conn)
        assert told.step == step.value
    context.pauses = Pauses()
    conn.execute("update sample set not_before = null")
    assert take_turn(context, step) >= 1
    assert ends(conn)[digest] == "done"
    assert list_pauses(conn) == []


def test_a_blob_that_is_missing_in_the_right_folder_ends_alone(context: Context) -> None:
    conn = context.conn
    bind_folder(conn, context.blobs)
    listing_id = make_listing(conn)
    lost, kept = (
        add_sample(context, listing_id, portrait("astronaut")),
        add_sample(context, listing_id, portrait("t1-1")),
    )
    blob_path(context.blobs, get_place(conn, lost).file_id).unlink()
    embed_samples(context)
    assert ends(conn) == {lost: "quarantined:blob_missing", kept: "done"}


def test_a_disk_that_fails_at_one_file_costs_that_file_five_attempts(context: Context) -> None:
    conn = context.conn
    bind_folder(conn, context.blobs)
    digest = add_sample(context, make_listing(conn), portrait("astronaut"))
    with failing(errno.EIO)(blob_path(context.blobs, get_place(conn, digest).file_id)):
        embed_samples(context)
    assert ends(conn) == {digest: "ready:blob_unreadable"}


def test_what_could_not_be_opened_is_kept_for_a_week_and_then_goes(context: Context) -> None:
    conn = context.conn
    digest = add_sample(context, make_listing(conn), b"no picture at all")
    embed_samples(context)
    drop_expired(context)
    assert count(conn, "select count(*) from blob where sha256 = %s", digest) == 1
    conn.execute("update sample set not_before = now() - interval '8 days'")
    drop_expired(context)
    assert count(conn, "select count(*) from blob where sha256 = %s", digest) == 0


def test_a_listed_picture_is_not_kept_for_a_week(context: Context) -> None:
    conn = context.conn
    add_sample(context, make_listing(conn), b"no picture at all")
    conn.execute("update sample set state = 'quarantined', error_code = 'hash_listed', not_before = now()")
    drop_expired(context)
    assert count(conn, "select count(*) from blob") == 0


def test_a_folder_is_bound_once_and_known_again(context: Context, tmp_path: Path) -> None:
    conn = context.conn
    bind_folder(conn, context.blobs)
    bind_folder(conn, tmp_path / "other")
    check_folder(conn, context.blobs)
    with pytest.raises(Unavailable, match="cannot be read"):
        check_folder(conn, tmp_path / "other")


def test_status_says_what_pauses_and_why(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    bind_folder(context.conn, context.blobs)
    add_sample(context, make_listing(context.conn), portrait("astronaut"))
    with moved_away(context.blobs):
        assert take_turn(context, Step.EMBED_SAMPLES) == 0
        table = {"home": "x", "running": True, "processes": [], **describe_rows(context.settings)}
        show(table)
    told = " ".join(capsys.readouterr().out.split())
    assert "paused: embed_samples on" in told
    assert "blobs_away: blobs_away:" not in told
    assert "which-blobs cannot be read" in told


def test_whose_second_look_is_away_is_not_decided_by_the_first(context: Context) -> None:
    conn = context.conn
    bind_folder(conn, context.blobs)
    enrol_person(context, "astronaut")
    add_sample(context, make_listing(conn), portrait("astronaut", 60))
    embed_samples(context)
    with moved_away(context.blobs):
        assert take_turn(context, Step.MATCH_FACES) == 0
        assert conn.execute("select state, attempts from face").fetchone() == ("ready", 0)
    context.pauses = Pauses()
    conn.execute("update face set not_before = null")
    assert take_turn(context, Step.MATCH_FACES) == 1
    assert count(conn, "select count(*) from match where held is null") == 1
