"""look at the ledger, verify all of it, or write its signed head to a file

A head that was kept outside the database shows what was changed in it since: an entry, the order, a tail that was cut
off. `up` leaves one an hour in the folder [evidence] heads; keep copies where nobody of this machine can reach them.

example:
  ./facewarden ledger verify                          (against the heads of that folder, too)
  ./facewarden ledger verify --head /media/usb/head-of-may.json --head alert.fwb       (a bundle has one, too)
  ./facewarden ledger head --out /media/usb/head-of-june.json
  ./facewarden ledger show --last 20
"""

import argparse
import contextlib
import sys
from pathlib import Path

from cli.servers import open_database
from evidence.verify import check_bundle
from vault.errors import LedgerError
from vault.files import write_whole
from vault.heads import OutsideHead, is_signed, keep_head, list_heads, make_head, read_head, write_head
from vault.keys import Keys
from vault.ledger import SignedHead
from vault.letters import count_of
from vault.settings import Settings
from vault.store import LONG, Connection, connect
from vault.store.audit import Finding, verify_ledger
from vault.store.ledger import chain_entries, count_unplaced, get_head, get_signed_head, list_entries
from vault.terminal import say, working


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("verify", "show", "head"))
    parser.add_argument("--last", type=int, default=10, help="show: how many entries")
    parser.add_argument("--head", action="append", default=[], type=Path, metavar="FILE",
                        help="verify: a head or a bundle that was kept outside; more than one will do")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="head: the file to write; without it, it is printed")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with open_database(settings) as (settings, keys, conn):
        while chain_entries(conn, keys):
            pass
        if args.what == "show":
            return show(conn, args.last)
        if args.what == "head":
            return take_head(conn, args.out)
        return verify(conn, keys, settings, args.head)


def show(conn: Connection, last: int) -> int:
    head = get_head(conn)
    for position, entry, _leaf in list_entries(conn, max(0, head.tree_size - last), last):
        say(f"{position} {entry}")
    return 0


def take_head(conn: Connection, out: Path | None) -> int:
    """Write the newest signed head to a file that is not there yet. Raises LedgerError, OSError."""
    signed = get_signed_head(conn)
    if signed is None or not is_signed(signed):
        raise LedgerError("head_missing", "no head was signed yet", mend="run: ./facewarden ledger verify")
    if out is None:
        say(*write_head(signed).decode().splitlines())
        return 0
    if out.exists():
        raise LedgerError("head_exists", f"{out} is there already", mend="heads are never overwritten: name another")
    write_whole(out, write_head(signed))
    say(f"{out}: the head over {count_entries(signed.head.tree_size)}, signed {signed.signed_at}")
    return 0


def verify(conn: Connection, keys: Keys, settings: Settings, files: list[Path]) -> int:
    """Raises LedgerError: head_invalid for a file that was named and holds no head."""
    outside = [read_outside(path) for path in files]
    wrong: list[Finding] = []
    for each in list_heads(settings.heads_folder):
        if isinstance(each, OutsideHead):
            outside.append(each)
        else:
            wrong.append(Finding(code=each.case, text=each.message))
    with contextlib.closing(connect(settings, limits=LONG)) as patient, working("recomputing the ledger") as tell:
        wrong += verify_ledger(
            patient, keys, outside, tell=lambda done, total: tell(f"{done:,} of {count_entries(total)}")
        )
    for finding in wrong:
        say(f"FAILED {finding}")
    if wrong:
        return 1
    signed = get_signed_head(conn)
    size, root = (signed.head.tree_size, signed.head.root) if signed else (0, "none")
    say(f"verified: {count_entries(size)}, root {root}, {count_unplaced(conn)} waiting")
    say(f"held against {describe(outside)}")
    if signed is not None:
        keep(settings.heads_folder, signed)
    return 0


def read_outside(path: Path) -> OutsideHead:
    """From the head's own file, or a bundle that was proven against it. Raises LedgerError: head_invalid, OSError."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return read_head(path)
        report = check_bundle(file)
    if report.failed or not report.head:
        raise LedgerError(
            "head_invalid", f"{path.name}: this bundle does not pass its check", mend="try: verify BUNDLE"
        )
    return OutsideHead(where=path.name, signed=make_head(report.head, report.public_key))


def describe(outside: list[OutsideHead]) -> str:
    """How much the heads that were kept outside can tell."""
    if not outside:
        return "no head outside the database: a tail that was cut off before now would not be noticed"
    longest = max(outside, key=lambda each: each.signed.head.tree_size).signed
    return (f"{count_of(len(outside), 'head')} outside the database; the longest covers "
            f"{count_entries(longest.head.tree_size)}, signed {longest.signed_at}")  # fmt: skip


def count_entries(number: int) -> str:
    return count_of(number, "entry", "entries")


def keep(folder: Path, signed: SignedHead) -> None:
    """What was verified has a head outside from now on, where the folder can be written."""
    try:
        keep_head(folder, signed)
    except OSError as exc:
        say(f"the head could not be kept in {folder}: {exc.strerror}", to=sys.stderr)
