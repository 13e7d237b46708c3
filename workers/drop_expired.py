"""Retention: what is kept longer than its days is dropped, and files that no row names are unlinked."""

import time

from vault.log import get_logger
from vault.store.access import drop_stale
from vault.store.blobs import (
    copy_leftover,
    drop_files,
    list_leftovers,
    list_litter,
    list_unneeded,
    release_blobs,
    release_pages,
    take_apart,
)
from vault.store.faces import drop_expired_templates
from vault.store.holds import end_holds
from vault.store.judgements import drop_expired_negatives
from vault.store.orphans import erase_orphan_keys
from vault.store.pauses import drop_stale_pauses
from workers.context import Context
from workers.orphans import drop_orphan_files

MINUTES_OF_KEYS = 60

log = get_logger(__name__)


def drop_expired(context: Context) -> int:
    conn, folder = context.conn, context.blobs
    dropped = drop_expired_templates(conn)
    with conn.transaction():
        drop_expired_negatives(conn)  # how many were judged is nobody's business
        ended = end_holds(conn)
    if dropped:
        log.info("retention dropped templates", count=dropped)
    if ended:
        log.warning("matches that were held ended undecided", **ended)
    unneeded = list_unneeded(conn)
    with conn.transaction():
        release_blobs(conn, unneeded)
        release_pages(conn)
    for leftover in list_leftovers(conn):
        if copy_leftover(folder, leftover):
            with conn.transaction():
                take_apart(conn, leftover)
    drop_files(conn, folder, list_litter(conn))
    drop_stale(conn)
    drop_stale_pauses(conn)
    minute = int(time.monotonic() // 60)
    drop_orphan_files(conn, context.settings.home, minute)
    if minute % MINUTES_OF_KEYS == 0:
        with conn.transaction():
            erase_orphan_keys(conn)
    return 0
