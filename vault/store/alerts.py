"""Rows of `calibration`, `match`, `alert` and `delivery`: what was found, and who is to be told."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg

from vault.errors import ConsentMissing, JudgementGone
from vault.records import Band, Delivery, Match
from vault.store import CONSENT_MISSING, Connection, require_transaction
from vault.store.rows import record_row

SPREAD_HOURS = 24  # over which operators come to see what one search of a person has found under labels


def save_calibration(conn: Connection, calibration_id: str, pack: str, record: dict[str, Any]) -> None:
    conn.execute(
        """insert into calibration (calibration_id, pack, record) values (%(id)s, %(pack)s, %(record)s)
           on conflict (calibration_id) do update set used = true""",
        {"id": calibration_id, "pack": pack, "record": json.dumps(record)},
    )


def get_own_calibration(conn: Connection, pack: str) -> dict[str, Any] | None:
    """The newest record that the operator measured and uses."""
    row = conn.execute(
        """select record from calibration where pack = %(pack)s and record->>'origin' = 'own' and used
           order by created_at desc limit 1""",
        {"pack": pack},
    ).fetchone()
    return row[0] if row else None


def forget_own_calibrations(conn: Connection, pack: str) -> int:
    """Use the shipped record again; those that matches name stay. Returns how many were in use."""
    return conn.execute(
        "update calibration set used = false where pack = %(pack)s and record->>'origin' = 'own' and used",
        {"pack": pack},
    ).rowcount


def raise_alert(conn: Connection, subject_id: UUID, dataset_id: int, band: Band, *, spread: bool = False) -> UUID:
    """The one alert of a person and a dataset: a new one goes to the outbox, an old one only grows stronger. One that
    the person had judged is open again, and they are told anew: this is a face they have not judged. `spread`: it comes
    of a search of one person in many places, so under a label operators see it at some time of the next day; seen at
    once, two labels would be known for one person's."""
    require_transaction(conn)
    row = conn.execute(
        """insert into alert (alert_id, subject_id, dataset_id, band, shown_from)
           values (%(alert)s, %(subject)s, %(dataset)s, %(band)s,
                   now() + case when %(spread)s then random() else 0 end * make_interval(hours => %(hours)s))
           on conflict (subject_id, dataset_id) do update
               set band = case when 'strong' in (excluded.band, alert.band) then 'strong'
                               when 'likely' in (excluded.band, alert.band) then 'likely' else 'possible' end
           returning alert_id, state""",
        {
            "alert": uuid4(),
            "subject": subject_id,
            "dataset": dataset_id,
            "band": band.value,
            "spread": spread,
            "hours": SPREAD_HOURS,
        },
    ).fetchone()
    assert row is not None
    alert_id: UUID = row[0]
    if row[1] == "dismissed":
        reopen_alert(conn, alert_id)
    conn.execute(
        """insert into delivery (delivery_id, subject_id, alert_id, kind)
           values (%(delivery)s, %(subject)s, %(alert)s, 'alert')
           on conflict (alert_id) where kind = 'alert' do nothing""",
        {"delivery": uuid4(), "subject": subject_id, "alert": alert_id},
    )
    return alert_id


def reopen_alert(conn: Connection, alert_id: UUID) -> None:
    """A message that was sent keeps its row, by which an erasure finds it, but makes room for another."""
    require_transaction(conn)
    conn.execute("update alert set state = 'open' where alert_id = %(id)s", {"id": alert_id})
    conn.execute(
        """update delivery set alert_id = null
           where alert_id = %(id)s and kind = 'alert' and state in ('done', 'quarantined')""",
        {"id": alert_id},
    )


def save_match(conn: Connection, match: Match, alert_id: UUID | None) -> None:
    """Raises ConsentMissing when the database finds no live consent for it, JudgementGone when the negative that holds
    it was taken back (the caller rolls back and decides again)."""
    require_transaction(conn)
    try:
        conn.execute(
            """insert into match (face_id, subject_id, template_id, consent_id, calibration_id, alert_id, pack, score,
                                  cut, band, held, negative_id)
               values (%(face)s, %(subject)s, %(template)s, %(consent)s, %(calibration)s, %(alert)s, %(pack)s,
                       %(score)s, %(cut)s, %(band)s, %(held)s, %(negative)s)
               on conflict (face_id, subject_id) do nothing""",
            {
                "face": match.face_id,
                "subject": match.subject_id,
                "template": match.template_id,
                "consent": match.consent_id,
                "calibration": match.calibration_id,
                "alert": alert_id,
                "pack": match.pack,
                "score": match.score,
                "cut": match.cut,
                "band": match.band.value,
                "held": match.held,
                "negative": match.negative_id,
            },
        )
    except psycopg.DatabaseError as exc:
        if exc.sqlstate == CONSENT_MISSING:
            raise ConsentMissing("the consent was withdrawn meanwhile") from exc
        if exc.diag.constraint_name == "match_negative_id_fkey":
            raise JudgementGone("the judgement was taken back meanwhile") from exc
        raise


def list_recent(
    conn: Connection, subject_ids: list[UUID], dataset_ids: list[int], hours: int, scope: int = 0
) -> tuple[dict[UUID, set[int]], dict[int, set[UUID]]]:
    """Alerts of the last hours in one scope (see `list_scopes`): the datasets of each of these people whose alert is of
    the lowest band, the people of each of these datasets."""
    rows = conn.execute(
        """select subject_id, dataset_id, band = 'possible' from alert
           where created_at > now() - make_interval(hours => %(hours)s)
             and (subject_id = any(%(subjects)s) or dataset_id = any(%(datasets)s))
             and %(scope)s = coalesce(
                 (select min(source_id) from closed_dataset where closed_dataset.dataset_id = alert.dataset_id), 0)""",
        {"hours": hours, "subjects": subject_ids, "datasets": dataset_ids, "scope": scope},
    ).fetchall()
    datasets: dict[UUID, set[int]] = {}
    people: dict[int, set[UUID]] = {}
    for subject_id, dataset_id, is_weak in rows:
        if is_weak:
            datasets.setdefault(subject_id, set()).add(dataset_id)
        people.setdefault(dataset_id, set()).add(subject_id)
    return datasets, people


def list_known_alerts(conn: Connection, subject_ids: list[UUID], dataset_ids: list[int]) -> frozenset[tuple[UUID, int]]:
    """Of which of these datasets which of these people know: (person, dataset)."""
    rows = conn.execute(
        """select subject_id, dataset_id from alert
           where subject_id = any(%(subjects)s) and dataset_id = any(%(datasets)s)""",
        {"subjects": subject_ids, "datasets": dataset_ids},
    ).fetchall()
    return frozenset((subject_id, dataset_id) for subject_id, dataset_id in rows)


# -- the outbox -------------------------------------------------------------------------------------------------------


def ask_delivery(conn: Connection, subject_id: UUID, kind: str) -> None:
    conn.execute(
        "insert into delivery (delivery_id, subject_id, kind) values (%(delivery)s, %(subject)s, %(kind)s)",
        {"delivery": uuid4(), "subject": subject_id, "kind": kind},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenMessage:
    """A message to a person, and the folder it was written in; None if it was not written yet."""

    delivery_id: UUID
    folder: str | None


def list_messages(conn: Connection, subject_id: UUID) -> list[WrittenMessage]:
    """Every delivery to a person but the receipt."""
    with conn.cursor(row_factory=record_row(WrittenMessage)) as cursor:
        return cursor.execute(
            "select delivery_id, folder from delivery where subject_id = %(id)s and kind <> 'receipt'",
            {"id": subject_id},
        ).fetchall()


def list_deliveries(conn: Connection, delivery_ids: tuple[UUID, ...]) -> list[Delivery]:
    with conn.cursor(row_factory=record_row(Delivery)) as cursor:
        return cursor.execute(
            """select delivery_id, subject_id, alert_id, kind, attempts, token from delivery
               where delivery_id = any(%(ids)s) order by created_at, delivery_id""",
            {"ids": list(delivery_ids)},
        ).fetchall()


def note_folder(conn: Connection, delivery_id: UUID, folder: str) -> None:
    """Where the message is about to be written, so that an erasure finds it whatever happens then."""
    conn.execute(
        "update delivery set folder = %(folder)s where delivery_id = %(id)s", {"id": delivery_id, "folder": folder}
    )


def find_message_wait(conn: Connection, subject_id: UUID, minutes: int, *, quiet: bool = False) -> float:
    """Seconds until the person may get another message about finds: at most one in so many minutes. One about what
    operators see whole does not wait for a `quiet` one, of which they may not know: they see when it is sent."""
    row = conn.execute(
        """select extract(epoch from max(sent_at) + make_interval(mins => %(minutes)s) - clock_timestamp())
           from delivery where subject_id = %(id)s and kind = 'alert' and covered_by is null
             and (%(quiet)s or exists (
                 select from shown_alert where shown_alert.alert_id = delivery.alert_id and is_open))""",
        {"id": subject_id, "minutes": minutes, "quiet": quiet},
    ).fetchone()
    return max(0.0, float(row[0])) if row and row[0] is not None else 0.0


def cover_messages(conn: Connection, delivery_id: UUID, token: int, *, quiet: bool = False) -> set[UUID]:
    """A message about finds leads to the page on which all of them are: those that wait for the same person, or were
    claimed with it, are told with it; with a `quiet` one only quiet ones. Returns which; rows that others work on are
    left alone."""
    require_transaction(conn)
    rows = conn.execute(
        """with sent as (select subject_id from delivery where delivery_id = %(id)s),
                waiting as materialized (
                    select delivery_id from delivery join sent using (subject_id)
                    where kind = 'alert' and delivery_id <> %(id)s
                      and (state = 'ready' or state = 'running' and token = %(token)s)
                      and not (%(quiet)s and exists (
                          select from shown_alert where shown_alert.alert_id = delivery.alert_id and is_open))
                      and not exists (  -- a listing that is still to find its dataset: see DELIVERIES
                          select 1 from alert join listing using (dataset_id) join linking using (listing_id)
                          where alert.alert_id = delivery.alert_id and linking.state in ('ready', 'running'))
                    order by delivery_id for update of delivery skip locked)
           update delivery set state = 'done', sent_at = now(), covered_by = %(id)s, lease_until = null,
                  error_code = null, error_text = null
           from waiting where delivery.delivery_id = waiting.delivery_id returning delivery.delivery_id""",
        {"id": delivery_id, "token": token, "quiet": quiet},
    ).fetchall()
    return {covered for (covered,) in rows}


def mark_sent(conn: Connection, delivery_id: UUID) -> None:
    conn.execute("update delivery set sent_at = now() where delivery_id = %(id)s", {"id": delivery_id})
