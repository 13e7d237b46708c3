"""Retention: templates of strangers whose days are over are dropped, and files whose key is erased are unlinked."""

from vault.log import get_logger
from vault.store.access import drop_stale
from vault.store.blobs import drop_files, list_litter, list_unneeded, release_blobs, thin_files
from vault.store.faces import drop_expired_templates
from vault.store.judgements import drop_expired_negatives
from workers.context import Context

log = get_logger(__name__)


def drop_expired(context: Context) -> int:
    dropped = drop_expired_templates(context.conn)
    with context.conn.transaction():
        dropped += drop_expired_negatives(context.conn)
    if dropped:
        log.info("retention dropped templates", count=dropped)
    release_blobs(context.conn, list_unneeded(context.conn))
    with context.conn.transaction():
        thin_files(context.conn, context.blobs)
    drop_files(context.conn, context.blobs, list_litter(context.conn))
    drop_stale(context.conn)
    return 0
