"""The sequencer: ledger entries get their place in the tree, a batch at a time, and the new head is signed."""

from vault.store.ledger import chain_entries
from workers.context import Context


def chain_ledger(context: Context) -> int:
    """One batch; returns how many entries were placed."""
    return chain_entries(context.conn, context.keys)
