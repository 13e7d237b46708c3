"""Room on the disks that hold our folders. Whatever fills a disk pauses before it is full, so that what people wait for
(withdrawals, erasures, messages) still finds room; the database keeps a reserve for that."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from vault.embedded import FOLDERS
from vault.errors import Unavailable
from vault.settings import Settings

MOST_LEFT = 256 << 20  # bytes that must be free on a large disk, on a small one a tenth of it
FEWEST_FILES = 1000  # that could still be made
RESERVE = 64 << 20  # at most; on a small disk a twentieth of it
BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """The file system of a folder, as far as we may fill it. `files`: how many more, None where there is no limit."""

    folder: Path
    free: int
    total: int
    files: int | None

    @property
    def is_low(self) -> bool:
        """Must we stop filling it? Never where the file system does not say how large it is."""
        few = self.files is not None and self.files < FEWEST_FILES
        return self.total > 0 and (few or self.free < min(MOST_LEFT, self.total // 10))

    def describe(self) -> str:
        """In words, with the path: for operators."""
        if self.files is not None and self.files < FEWEST_FILES:
            return f"{self.folder} is on a disk that takes {self.files} more files"
        size = f"{self.total / 1e9:.0f} GB" if self.total >= 10e9 else f"{self.total / 1e6:.0f} MB"
        return f"{self.folder} is on a disk of {size} with {self.free / 1e6:.0f} MB left"


def look_at(folder: Path) -> Disk:
    """The disk of a folder, or of what will hold it. Raises OSError."""
    place = next(each for each in (folder, *folder.parents) if each.exists())
    found = os.statvfs(place)
    return Disk(
        folder=folder,
        free=found.f_bavail * found.f_frsize,
        total=found.f_blocks * found.f_frsize,
        files=found.f_favail if found.f_files else None,
    )


def list_disks(settings: Settings) -> list[Disk]:
    """One for each file system that our folders lie on. Raises OSError."""
    seen: dict[int, Disk] = {}
    for folder in (settings.home, *(settings.home / name for name in (*FOLDERS, "postgres")), settings.mail_folder):
        if folder.exists():
            seen.setdefault(folder.stat().st_dev, look_at(folder))
    return list(seen.values())


def check_disks(settings: Settings) -> None:
    """Raises Unavailable: disk_full, and OSError."""
    for disk in list_disks(settings):
        if disk.is_low:
            raise Unavailable("disk_full", disk.describe(), mend="free some of it; the work goes on by itself")


class Reserve:
    """A file that is given up when the disk is full, so that the database can write what people ask for, and made anew
    when there is room again. It holds nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def tend(self) -> bool | None:
        """True where it was made now, False where it was given up, None where nothing had to be done. Raises OSError
        where the disk cannot be looked at."""
        disk = look_at(self.path.parent)
        size = min(RESERVE, disk.total // 20) // BLOCK * BLOCK
        if self.path.exists():
            if disk.free >= size // 2:
                return None
            self.path.unlink()
            return False
        if size == 0 or disk.is_low or disk.free < 3 * size:
            return None
        return self._make(size)

    def _make(self, size: int) -> bool | None:
        """Of bytes that no file system makes smaller."""
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                for _ in range(size // BLOCK):
                    file.write(os.urandom(BLOCK))
            temporary.rename(self.path)
            return True
        except OSError:
            return None
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
