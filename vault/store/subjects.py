"""Rows of `subject`, `consent` and `template`: who may be searched."""

import datetime as dt
from uuid import UUID, uuid4

from vault.errors import EnrolmentError
from vault.keys import Keys, decrypt, encrypt, make_data_key
from vault.records import LiveTemplate, Subject, Template
from vault.store import Connection, require_transaction
from vault.store.clock import tick_gallery
from vault.store.keys import get_data_key, save_key
from vault.store.rows import record_row
from vault.store.withdrawals import withdraw_consent

UNCONFIRMED_DAYS = 7  # how long an enrolment waits for its confirmation; as long as the link in the mail lasts


def digest_address(keys: Keys, address: str) -> str:
    """The keyed digest (64 hex digits) by which whoever enrolled with an address is found; case does not matter."""
    return keys.digest_text("address:" + address.strip().lower())


def save_subject(
    conn: Connection, keys: Keys, address: str, wording: str, recorded_by: str, picture: bytes, pack: str
) -> UUID:
    """One enrolment as it begins: subject, consent (not yet confirmed) and the picture, sealed under the subject's key.

    Raises EnrolmentError: already_enrolled.
    """
    require_transaction(conn)
    subject_id, key_id = uuid4(), uuid4()
    data_key = make_data_key()
    save_key(conn, keys, key_id, "subject", data_key)
    added = conn.execute(
        """insert into subject (subject_id, key_id, address_digest, address_sealed)
           values (%(subject)s, %(key)s, %(digest)s, %(sealed)s) on conflict (address_digest) do nothing""",
        {
            "subject": subject_id,
            "key": key_id,
            "digest": digest_address(keys, address),
            "sealed": encrypt(data_key, address.encode(), b"address:" + subject_id.bytes),
        },
    ).rowcount
    if not added:
        raise EnrolmentError(
            "already_enrolled",
            "this address is enrolled already, and its photo is in use or being looked at",
            mend="its person asks for a new link on the start page; for another photo: ./facewarden withdraw "
            "--address ADDRESS, wait for the receipt, then enrol again",
        )
    conn.execute(
        """insert into consent (consent_id, subject_id, wording, recorded_by, granted_at)
           values (%(consent)s, %(subject)s, %(wording)s, %(by)s, now())""",
        {"consent": uuid4(), "subject": subject_id, "wording": wording, "by": recorded_by},
    )
    conn.execute(
        "insert into template (subject_id, pack, picture) values (%(subject)s, %(pack)s, %(picture)s)",
        {
            "subject": subject_id,
            "pack": pack,
            "picture": encrypt(data_key, picture, b"picture:" + subject_id.bytes),
        },
    )
    return subject_id


def count_enrolled(conn: Connection, *, hours: int) -> int:
    """How many enrolments were begun lately, those that have ended since among them; by the database's clock."""
    row = conn.execute(
        "select count(*) from subject where created_at > now() - make_interval(hours => %(hours)s)", {"hours": hours}
    ).fetchone()
    return int(row[0]) if row else 0


def get_subject(conn: Connection, subject_id: UUID) -> Subject:
    """Raises EnrolmentError: subject_unknown."""
    with conn.cursor(row_factory=record_row(Subject)) as cursor:
        found = cursor.execute(
            "select subject_id, key_id, state, created_at from subject where subject_id = %(id)s", {"id": subject_id}
        ).fetchone()
    if found is None:
        raise EnrolmentError("subject_unknown", "nobody is enrolled under this id or address")
    return found


def find_subject(conn: Connection, keys: Keys, address: str) -> UUID | None:
    row = conn.execute(
        "select subject_id from subject where address_digest = %(digest)s",
        {"digest": digest_address(keys, address)},
    ).fetchone()
    return row[0] if row else None


def open_address(conn: Connection, keys: Keys, subject_id: UUID) -> str:
    """The address of a subject, for delivery only. Raises KeyFileError: key_erased."""
    row = conn.execute(
        "select key_id, address_sealed from subject where subject_id = %(id)s", {"id": subject_id}
    ).fetchone()
    if row is None or row[1] is None:
        raise EnrolmentError("subject_unknown", "this person's address was erased")
    data_key = get_data_key(conn, keys, row[0])
    return decrypt(data_key, row[1], b"address:" + subject_id.bytes).decode()


def has_address(conn: Connection, subject_id: UUID) -> bool:
    """Is there still somebody to write to?"""
    row = conn.execute(
        "select 1 from subject where subject_id = %(id)s and address_sealed is not null", {"id": subject_id}
    ).fetchone()
    return row is not None


# -- consent ----------------------------------------------------------------------------------------------------------


def confirm_consent(conn: Connection, subject_id: UUID) -> None:
    """The person followed the link: from now on they may be searched."""
    confirmed = conn.execute(
        """update consent set confirmed_at = now()
           where subject_id = %(id)s and confirmed_at is null
             and not exists (select from withdrawal where withdrawal.subject_id = consent.subject_id)""",
        {"id": subject_id},
    ).rowcount
    if confirmed:
        conn.execute(
            "update subject set state = 'active' where subject_id = %(id)s and state = 'pending'", {"id": subject_id}
        )
        tick_gallery(conn)


def drop_enrolment(conn: Connection, subject_id: UUID) -> bool:
    """Let go of an enrolment that leads to nothing: never confirmed, or its picture refused. False for any other.

    The address is free at once; the erasure takes the rest, and nobody is written to, for there is no address left.
    The consent is locked, so that a confirmation comes before this or finds the withdrawal.
    """
    require_transaction(conn)
    dropped = conn.execute(
        """select 1 from consent
           where subject_id = %(id)s
             and not exists (select from withdrawal where withdrawal.subject_id = consent.subject_id)
             and (confirmed_at is null or not exists (
                 select 1 from template where template.subject_id = consent.subject_id and state <> 'quarantined'))
           for update""",
        {"id": subject_id},
    ).fetchone()
    if dropped is None:
        return False
    conn.execute(
        "update subject set address_digest = null, address_sealed = null where subject_id = %(id)s", {"id": subject_id}
    )
    withdraw_consent(conn, subject_id, by="nobody: the enrolment led to nothing")
    return True


def list_unconfirmed(conn: Connection) -> list[UUID]:
    """Those whose time to confirm is over: no link that still works, and no mail that is yet to bring one."""
    rows = conn.execute(
        """select subject_id from consent
           where confirmed_at is null and granted_at < now() - make_interval(days => %(days)s)
             and not exists (select from withdrawal where withdrawal.subject_id = consent.subject_id)
             and not exists (select 1 from link where link.subject_id = consent.subject_id
                             and purpose = 'confirm' and used_at is null and expires_at > now())
             and not exists (select 1 from delivery where delivery.subject_id = consent.subject_id
                             and kind = 'confirmation' and state in ('ready', 'running'))""",
        {"days": UNCONFIRMED_DAYS},
    ).fetchall()
    return [subject_id for (subject_id,) in rows]


def has_consent(conn: Connection, subject_id: UUID, *, confirmed: bool) -> bool:
    """Is there a live consent (confirmed, if asked for), as far as is committed now?"""
    row = conn.execute(
        """select 1 from consent where subject_id = %(id)s and (confirmed_at is not null or not %(confirmed)s)
             and not exists (select from withdrawal where withdrawal.subject_id = consent.subject_id)""",
        {"id": subject_id, "confirmed": confirmed},
    ).fetchone()
    return row is not None


def get_consent_times(conn: Connection, subject_id: UUID) -> dict[str, dt.datetime | None]:
    row = conn.execute(
        """select granted_at, confirmed_at,
                  (select min(withdrawn_at) from withdrawal where withdrawal.subject_id = consent.subject_id)
           from consent where subject_id = %(id)s""",
        {"id": subject_id},
    ).fetchone()
    return dict(zip(("granted_at", "confirmed_at", "withdrawn_at"), row or (None, None, None), strict=True))


# -- templates --------------------------------------------------------------------------------------------------------


def list_new_templates(conn: Connection, template_ids: tuple[int, ...]) -> list[Template]:
    with conn.cursor(row_factory=record_row(Template)) as cursor:
        return cursor.execute(
            """select template_id, subject_id, pack, attempts, token from template
               where template_id = any(%(ids)s) order by template_id""",
            {"ids": list(template_ids)},
        ).fetchall()


def open_picture(conn: Connection, keys: Keys, template: Template) -> bytes:
    """The enrolment picture's bytes. Raises KeyFileError: key_erased."""
    row = conn.execute(
        """select key_id, picture from template join subject using (subject_id)
           where template_id = %(id)s""",
        {"id": template.template_id},
    ).fetchone()
    if row is None or row[1] is None:
        raise EnrolmentError("subject_unknown", "the enrolment picture was erased")
    return decrypt(get_data_key(conn, keys, row[0]), row[1], b"picture:" + template.subject_id.bytes)


def save_template(conn: Connection, keys: Keys, template: Template, matrix_id: str, vector: bytes) -> None:
    """Keep the keyed vector (d little-endian f32), sealed under the subject's key, and erase the picture."""
    row = conn.execute("select key_id from subject where subject_id = %(id)s", {"id": template.subject_id}).fetchone()
    if row is None:
        raise EnrolmentError("subject_unknown", "the subject is gone")
    sealed = encrypt(get_data_key(conn, keys, row[0]), vector, b"template:%d" % template.template_id)
    conn.execute(
        """update template set sealed = %(sealed)s, matrix_id = %(matrix)s, picture = null
           where template_id = %(id)s""",
        {"id": template.template_id, "sealed": sealed, "matrix": matrix_id},
    )
    tick_gallery(conn)


def open_vector(keys: Keys, template: LiveTemplate) -> bytes:
    data_key = keys.unwrap_key(template.wrapped, str(template.key_id))
    return decrypt(data_key, template.sealed, b"template:%d" % template.template_id)


def list_live_ids(conn: Connection, pack: str) -> dict[int, tuple[UUID, UUID]]:
    """Every template that may be searched now: template_id -> (subject_id, consent_id)."""
    rows = conn.execute(
        """select template_id, subject_id, consent_id from template join live_consent using (subject_id)
           where sealed is not null and pack = %(pack)s and template.state = 'done'""",
        {"pack": pack},
    ).fetchall()
    return {template_id: (subject_id, consent_id) for template_id, subject_id, consent_id in rows}


def list_live_templates(conn: Connection, pack: str, template_ids: list[int]) -> list[LiveTemplate]:
    """The sealed vectors of those of `template_ids` that may be searched now."""
    with conn.cursor(row_factory=record_row(LiveTemplate)) as cursor:
        return cursor.execute(
            """select template_id, subject_id, consent_id, pack, matrix_id, sealed, wrapped, key_id
               from template join subject using (subject_id) join live_consent using (subject_id)
                    join key using (key_id)
               where template_id = any(%(ids)s) and sealed is not null and wrapped is not null and pack = %(pack)s
                 and template.state = 'done'
               order by template_id""",
            {"ids": template_ids, "pack": pack},
        ).fetchall()
