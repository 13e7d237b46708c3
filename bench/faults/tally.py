"""What is counted over all scenarios: how long withdrawals, erasures and deliveries took, and what was quarantined."""

import contextlib
import email
import email.policy
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from bench.faults.deployment import Deployment, count, make_address
from bench.report import Report
from cli.servers import find_running
from vault.blobs import MARKER
from vault.store import Connection
from vault.store.blobs import list_litter
from vault.store.orphans import YOUNG_SECONDS, erase_orphan_keys
from workers.context import Context
from workers.orphans import PARTS, PARTS_A_MINUTE, drop_orphan_files, is_blob_name

WITHDRAWAL_SECONDS = 5.0
ERASURE_SECONDS = DELIVERY_SECONDS = 10.0
NEVER = 1e12


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """Between these times, in seconds since 1970, something was away that an erasure or a message needs."""

    begun: float
    ended: float


@dataclass
class Tally:
    withdrawals: list[float] = field(default_factory=list)
    erasures: list[float] = field(default_factory=list)  # from withdrawal, or from the end of what held it up
    deliveries: list[float] = field(default_factory=list)  # of the receipt, from the erasure's end
    touched: int = 0  # rows and messages about people after they withdrew
    differing: int = 0
    quarantined: int = 0

    def add_to(self, report: Report) -> None:
        """The summary."""
        for name, names, values, most in (
            ("withdrawal", "withdrawals", self.withdrawals, WITHDRAWAL_SECONDS),
            ("erasure", "erasures", self.erasures, ERASURE_SECONDS),
            ("delivery", "deliveries", self.deliveries, DELIVERY_SECONDS),
        ):
            late = sum(value > most for value in values)
            report.add(f"faults.{names}", len(values), "in all")
            report.add(f"faults.{names}_late", late, f"later than {most:.0f} s", bar="== 0")
            report.add(f"faults.{name}_slowest", max(values, default=0.0), "s", bar=f"<= {most:.0f}")
        report.add("faults.after_withdrawal", self.touched, "rows and messages", bar="== 0")
        report.add("faults.rows_differing", self.differing, "rows", bar="== 0")
        report.add("faults.quarantined_wrongly", self.quarantined, "rows", bar="== 0")

    def compare(self, expected: Counter[str], found: Counter[str]) -> int:
        """Rows in which a disturbed run differs from an undisturbed one."""
        differing = (expected - found).total() + (found - expected).total()
        self.differing += differing
        self.quarantined += sum('"quarantined"' in row for row in (found - expected).elements())
        return differing

    def note_withdrawn(
        self, deployment: Deployment, subject_ids: Sequence[UUID], outages: Sequence[Outage] = ()
    ) -> None:
        """Erasures, deliveries and leftovers of people who withdrew; outages do not count as time that they took."""
        with deployment.connect() as conn:
            for subject_id in subject_ids:
                withdrawn, erased, sent = read_end(conn, subject_id)
                self.erasures.append(measure(withdrawn, erased, outages))
                self.deliveries.append(measure(erased, sent, outages))
                self.touched += count_left(conn, subject_id)


def read_end(conn: Connection, subject_id: UUID) -> tuple[float, float, float]:
    """When somebody withdrew, was erased, and was told; in seconds since 1970, NEVER for what did not happen."""
    row = conn.execute(
        """select extract(epoch from min(withdrawn_at))::float,
                  extract(epoch from (select created_at from receipt where subject_id = %(id)s))::float,
                  extract(epoch from (select sent_at from delivery
                                      where subject_id = %(id)s and kind = 'receipt'))::float
           from withdrawal where subject_id = %(id)s""",
        {"id": subject_id},
    ).fetchone()
    withdrawn, erased, sent = (NEVER if each is None else float(each) for each in row or (None, None, None))
    return withdrawn, erased, sent


def measure(start: float, end: float, outages: Sequence[Outage]) -> float:
    """Seconds from the start, or from the end of the last outage that fell between, to the end."""
    if end == NEVER:
        return NEVER
    return end - max([start, *(min(each.ended, end) for each in outages if each.begun < end and each.ended > start)])


def count_left(conn: Connection, subject_id: UUID) -> int:
    """Rows that were left or made about somebody who was erased: what a template found, and messages other than the
    receipt that were sent or wait since the withdrawal."""
    query = """select (select count(*) from template where subject_id = %(id)s)
                    + (select count(*) from match where subject_id = %(id)s)
                    + (select count(*) from alert where subject_id = %(id)s)
                    + (select count(*) from delivery where subject_id = %(id)s and kind <> 'receipt'
                       and (state in ('ready', 'running') or sent_at >
                            (select min(withdrawn_at) from withdrawal where subject_id = %(id)s)))"""
    (number,) = conn.execute(query.encode(), {"id": subject_id}).fetchone() or (0,)
    return int(number)


def list_mails(folder: Path) -> list[tuple[str, str]]:
    """(address, subject line) of every message."""
    found = []
    for path in folder.glob("*.eml"):
        with contextlib.suppress(FileNotFoundError):
            message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            found.append((str(message["To"]), str(message["Subject"])))
    return found


def count_messages_wrong(deployment: Deployment) -> int:
    """Messages of which there is not exactly one file for one row that says it was sent, of people who did not withdraw
    and of receipts."""
    files = Counter(path.stem for path in deployment.settings.mail_folder.glob("*.eml"))
    with deployment.connect() as conn:
        rows = conn.execute(
            """select delivery_id from delivery where sent_at is not null and covered_by is null
               and (kind = 'receipt' or not exists
                    (select from withdrawal where withdrawal.subject_id = delivery.subject_id))"""
        ).fetchall()
        gone = count(conn, "select count(*) from delivery where kind = 'alert' and alert_id is null")
    sent = Counter(str(delivery_id) for (delivery_id,) in rows)
    return (files - sent).total() + (sent - files).total() + gone


def count_mails_left(deployment: Deployment, names: list[str]) -> int:
    """Messages in the folder to people who were erased, other than one receipt each; and receipts that came twice."""
    gone = {make_address(name) for name in names}
    mails = Counter(mail for mail in list_mails(deployment.settings.mail_folder) if mail[0] in gone)
    return sum(number - ("erased" in subject) for (_to, subject), number in mails.items())


# -- orphans ----------------------------------------------------------------------------------------------------------


def count_orphans(deployment: Deployment) -> int:
    """Files without rows, keys without rows and torn files that the sweep leaves once they are old enough."""
    context = Context(find_running(deployment.settings))
    try:
        age_everything(context)
        for minute in range(PARTS // PARTS_A_MINUTE):
            drop_orphan_files(context.conn, context.settings.home, minute)
        with context.conn.transaction():
            erase_orphan_keys(context.conn)
        return count_strays(context)
    finally:
        context.close()


def age_everything(context: Context) -> None:
    """As if it had been made two sweeps' patience ago."""
    context.conn.execute("update key set created_at = created_at - make_interval(secs => %s)", [2 * YOUNG_SECONDS])
    then = time.time() - 2 * YOUNG_SECONDS
    for path in list_kept(context.settings.home):
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (then, then))


def list_kept(home: Path) -> Iterator[Path]:
    for name in ("blobs", "bundles", "mail", "index", "segments"):
        yield from (path for path in (home / name).rglob("*") if path.is_file() and path.name != MARKER)


def count_strays(context: Context) -> int:
    conn = context.conn
    rows = conn.execute("select key_id from blob where file_id is null union select file_id from blob_file").fetchall()
    named, litter = {name.hex for (name,) in rows}, {name.hex for name in list_litter(conn)}
    kept = list(list_kept(context.settings.home))
    there = {path.name for path in kept if is_blob_name(path.name)}
    strays = sum(path.name.endswith(".tmp") for path in kept) + len(there - named - litter) + len(named - there)
    keys = """select count(*) from key where kind = 'blob' and wrapped is not null
              and not exists (select from blob where blob.key_id = key.key_id)"""
    missing = """select count(*) from blob join key using (key_id) where wrapped is null"""
    return strays + count(conn, keys) + count(conn, missing)
