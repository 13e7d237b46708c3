"""Rows of `source`: the cards that are crawled, and their health."""

from vault.records import Policy, Source
from vault.store import Connection
from vault.store.rows import record_row


def save_source(conn: Connection, name: str, card: str, card_sha256: str, policy: Policy, days: int) -> Source:
    """The source of a card, made or brought up to date."""
    with conn.cursor(row_factory=record_row(Source)) as cursor:
        found = cursor.execute(
            """insert into source (name, card, card_sha256, policy, retention_days)
               values (%(name)s, %(card)s, %(sha256)s, %(policy)s, %(days)s)
               on conflict (name) do update set card = excluded.card, card_sha256 = excluded.card_sha256,
                   policy = excluded.policy, retention_days = excluded.retention_days
               returning source_id, name, card_sha256, policy, retention_days, state, reason, last_crawl_at""",
            {"name": name, "card": card, "sha256": card_sha256, "policy": policy.value, "days": days},
        ).fetchone()
    assert found is not None
    return found


def get_source(conn: Connection, name: str) -> Source | None:
    with conn.cursor(row_factory=record_row(Source)) as cursor:
        return cursor.execute(
            """select source_id, name, card_sha256, policy, retention_days, state, reason, last_crawl_at
               from source where name = %(name)s""",
            {"name": name},
        ).fetchone()


def pause_source(conn: Connection, source_id: int, reason: str) -> None:
    conn.execute(
        "update source set state = 'paused', reason = %(reason)s where source_id = %(id)s",
        {"id": source_id, "reason": reason},
    )


def mark_crawled(conn: Connection, source_id: int) -> None:
    conn.execute("update source set last_crawl_at = now() where source_id = %(id)s", {"id": source_id})
