"""Retention: templates of strangers whose days are over are dropped, and files whose key is erased are unlinked."""

from vault.blobs import unlink_blob
from vault.log import get_logger
from vault.store.access import drop_stale
from vault.store.faces import drop_expired_templates
from vault.store.keys import forget_litter, list_litter
from workers.context import Context

log = get_logger(__name__)


def drop_expired(context: Context) -> int:
    dropped = drop_expired_templates(context.conn)
    if dropped:
        log.info("retention dropped templates", count=dropped)
    litter = list_litter(context.conn)
    for key_id in litter:
        unlink_blob(context.blobs, key_id)
    forget_litter(context.conn, litter)
    drop_stale(context.conn)
    return 0
