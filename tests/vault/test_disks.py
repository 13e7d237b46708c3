"""Room on the disks: what can wait stops before a disk is full, and the reserve is given up when it is."""

from pathlib import Path

import pytest

from tests.samples import add_sample, make_listing, portrait
from vault.disks import RESERVE, Disk, Reserve, check_disks, list_disks, look_at
from vault.errors import DiskFull, Unavailable
from vault.records import PageKind
from vault.steps import Step
from vault.store import make_disk_full, tells_full_disk
from vault.store.pauses import list_pauses
from workers.app import FILLING, take_turn
from workers.context import Context
from workers.pauses import Pauses

MB = 1 << 20


def fill(folder: Path, leave: int = 0) -> Path:
    """A file that takes all of a disk but `leave` bytes."""
    path = folder / "filler"
    with path.open("wb") as file:
        file.write(bytes(look_at(folder).free - leave))
    return path


def test_a_disk_is_low_by_size_and_by_number_of_files(tmp_path: Path) -> None:
    def is_low(free: int, total: int, files: int | None = None) -> bool:
        return Disk(folder=tmp_path, free=free, total=total, files=files).is_low

    assert not is_low(300 * MB, 1 << 40)
    assert is_low(200 * MB, 1 << 40)
    assert not is_low(30 * MB, 200 * MB), "a small disk is used too"
    assert is_low(10 * MB, 200 * MB)
    assert not is_low(0, 0), "some file systems do not say"
    assert is_low(1 << 40, 1 << 42, files=3)


def test_each_disk_is_looked_at_once(context: Context, small: Path) -> None:
    settings = context.settings.replace("delivery", mail_folder=small)
    disks = list_disks(settings)
    assert [disk.folder for disk in disks] == [settings.home, small]
    fill(small)
    with pytest.raises(Unavailable, match="disk of 42 MB with 0 MB left") as told:
        check_disks(settings)
    assert told.value.stable_code == "disk_full"
    assert str(small) in told.value.message


@pytest.mark.parametrize("step", Step)
def test_what_can_wait_pauses_on_a_full_disk_and_what_people_wait_for_does_not(
    context: Context, small: Path, step: Step
) -> None:
    conn = context.conn
    add_sample(context, make_listing(conn), portrait("astronaut"), PageKind.IMAGE)
    filler = fill(small)
    context.settings = context.settings.replace("delivery", mail_folder=small)
    before = conn.execute("select state, attempts from sample").fetchall()
    take_turn(context, step)
    assert [each.code for each in list_pauses(conn)] == (["disk_full"] if step in FILLING else [])
    assert conn.execute("select state, attempts from sample").fetchall() == before
    filler.unlink()
    context.pauses = Pauses()
    take_turn(context, step)
    assert list_pauses(conn) == []


def test_the_reserve_is_given_up_when_the_disk_is_full_and_made_anew_when_it_is_not(small: Path) -> None:
    reserve = Reserve(small / "reserve")
    for _ in range(10):
        assert reserve.tend() is True
        size = reserve.path.stat().st_size
        assert size == 2 * MB
        assert reserve.path.stat().st_blocks * 512 >= size
        assert reserve.tend() is None
        filler = fill(small)
        assert reserve.tend() is False
        assert look_at(small).free >= size
        assert reserve.tend() is None
        filler.unlink()


def test_no_reserve_is_made_where_there_is_little_room(small: Path) -> None:
    fill(small, leave=5 * MB)
    assert Reserve(small / "reserve").tend() is None
    assert [path.name for path in small.iterdir()] == ["filler"]


def test_a_large_disk_keeps_no_more_than_a_little(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve")
    if look_at(tmp_path).total < 40 * RESERVE or look_at(tmp_path).is_low:
        pytest.skip("the disk of the tests is small")
    assert reserve.tend() is True
    assert reserve.path.stat().st_size == RESERVE


def test_what_the_database_says_of_its_disk_is_told_as_that() -> None:
    words = "connection failed: FATAL:  could not write init file: No space left on device\nmore"
    assert tells_full_disk(words)
    assert not tells_full_disk("connection refused")
    told = make_disk_full(words)
    assert isinstance(told, DiskFull)
    assert told.stable_code == "disk_full"
    assert told.message.endswith("No space left on device")
