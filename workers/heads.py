"""Signed heads of the ledger leave the database: once an hour the newest goes into the folder of heads."""

import time

from vault.heads import find_longest, is_signed, keep_head
from vault.log import get_logger
from vault.store.ledger import get_signed_head
from workers.context import Context

HOUR = 3600.0
RETRY_SECONDS = 60.0  # when there is none to keep, or the folder cannot be written

log = get_logger(__name__)


class HeadKeeper:
    """Of one process: when the next head is due."""

    def __init__(self) -> None:
        self._due = 0.0

    def keep(self, context: Context) -> bool:
        """Keep the newest head if one is due; True if a file was written. Raises psycopg.Error, ServerError."""
        if time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + RETRY_SECONDS
        signed = get_signed_head(context.conn)
        if signed is None:
            return False
        if not is_signed(signed):
            log.error("the newest head of the ledger is not signed by this deployment; run: facewarden ledger verify")
            return False
        folder = context.settings.heads_folder
        try:
            if signed.head.tree_size < find_longest(folder):
                log.error("the ledger is shorter than a head of it that was kept; run: facewarden ledger verify")
                return False
            kept = keep_head(folder, signed)
        except OSError as exc:
            log.warning("a head of the ledger could not be kept; trying again soon", error=type(exc).__name__)
            return False
        self._due = time.monotonic() + HOUR
        return kept
