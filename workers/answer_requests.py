"""Requests by address are answered: in come rows of `request`, out go deliveries to those who are enrolled.

Every batch runs the same statements, whoever is asked for; the messages leave later, by `deliver`.
"""

from vault.store.requests import ask_links, drop_answered, take_requests
from workers.context import Context


def answer_requests(context: Context) -> int:
    """One batch, all that are old enough; returns how many addresses it took up."""
    conn = context.conn
    with conn.transaction():
        digests = take_requests(conn)
        ask_links(conn, digests)
        drop_answered(conn)
    return len(digests)
