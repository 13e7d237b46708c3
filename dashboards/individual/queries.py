"""What a person sees about themselves. SELECT only; every query is bound to one subject."""

from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from vault.store import Connection


def get_status(conn: Connection, subject_id: UUID) -> dict[str, Any] | None:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select subject.state, granted_at, confirmed_at, wording,
                      (select min(withdrawn_at) from withdrawal
                       where withdrawal.subject_id = subject.subject_id) as withdrawn_at,
                      (select count(*) from template where template.subject_id = subject.subject_id
                       and sealed is not null) as templates,
                      (select error_code from template where template.subject_id = subject.subject_id
                       and state = 'quarantined' limit 1) as problem
               from subject join consent using (subject_id)
               where subject_id = %(id)s order by granted_at desc limit 1""",
            {"id": subject_id},
        ).fetchone()


def list_own_alerts(conn: Connection, subject_id: UUID) -> list[dict[str, Any]]:
    """When something was found and what the person said of it; no picture, no place, no score. `handed_in`: in material
    that one operator alone chose, and nobody else is told. `waiting`: faces that
    are still to be taken up; `until`: until when one is known again, None if none is; `held`: how many faces were kept
    back for it."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """select alert_id, band, created_at, alert.state, judged_at, operator, waiting, until,
                      exists (select from closed_dataset where closed_dataset.dataset_id = alert.dataset_id
                              and visibility = 'private') as handed_in,
                      (select count(*) from match join negative using (negative_id)
                       where negative.alert_id = alert.alert_id) as held
               from alert left join judgement using (alert_id)
               left join lateral (
                   select count(*) filter (where negative.state in ('ready', 'running')) as waiting,
                          max(expires_at) filter (where sealed is not null) as until
                   from negative where negative.alert_id = alert.alert_id) as kept on true
               where alert.subject_id = %(id)s order by created_at desc, alert_id limit 200""",
            {"id": subject_id},
        ).fetchall()
