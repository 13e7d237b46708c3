"""Rows of `request`: what somebody asked for by an address, enrolled or not. Who is enrolled must not show.

In comes an address's keyed digest: one row, written in the same way for every address, and no look at who is enrolled.
A worker answers rows that are BEAT_SECONDS old, all of them at once, with the same statements whoever they are about
(`workers/answer_requests.py`). So neither the answer on the page, nor what another visitor feels, nor the queue tells.
"""

from enum import StrEnum

from vault.store import Connection, require_transaction

BEAT_SECONDS = 3.0  # a request is answered at this age, with all others that are as old
KEPT_SECONDS = 50.0  # from the asking; a minute at most after the answer, whatever a sweep and a turn add
MOST_WAITING = 1_000  # requests that are not answered; beyond, all are refused alike
MOST_OF_NETWORK = 30  # requests of one network in KEPT_SECONDS ...
MOST_OF_ADDRESS = 5  # ... and of those for one address: of this network only, or one could see that others ask
LINK_MINUTES = 10  # one new link a person in this time, however often somebody asks
JITTER_SECONDS = (2.0, 8.0)  # a message leaves after a delay drawn between these


class RequestKind(StrEnum):
    LINK = "link"  # a new link to the person's page


def save_request(conn: Connection, kind: RequestKind, digest: str, network: str) -> bool:
    """Keep a request for an address (its keyed digest) that came from a network (its keyed digest). False if too many
    wait, or came from that network just now: nothing is kept then."""
    added = conn.execute(
        """insert into request (kind, digest, network)
           select %(kind)s, %(digest)s, %(network)s
           where (select count(*) from (
                      select from request where answered_at is null limit %(waiting)s) as waiting) < %(waiting)s
             and (select count(*) from request where network = %(network)s
                  and asked_at > clock_timestamp() - make_interval(secs => %(kept)s)) < %(of_network)s
             and (select count(*) from request where network = %(network)s and digest = %(digest)s
                  and asked_at > clock_timestamp() - make_interval(secs => %(kept)s)) < %(of_address)s""",
        {
            "kind": kind.value,
            "digest": digest,
            "network": network,
            "waiting": MOST_WAITING,
            "kept": KEPT_SECONDS,
            "of_network": MOST_OF_NETWORK,
            "of_address": MOST_OF_ADDRESS,
        },
    ).rowcount
    return bool(added)


def are_requests_due(conn: Connection) -> bool:
    """Is there one to be answered, or to be dropped?"""
    row = conn.execute(
        """select exists (select from request where answered_at is null
                          and asked_at <= clock_timestamp() - make_interval(secs => %(beat)s))
               or exists (select from request where answered_at is not null
                          and asked_at <= clock_timestamp() - make_interval(secs => %(kept)s))""",
        {"beat": BEAT_SECONDS, "kept": KEPT_SECONDS},
    ).fetchone()
    return row == (True,)


def take_requests(conn: Connection) -> list[str]:
    """Mark the requests for a link that are BEAT_SECONDS old as answered; the digests of their addresses."""
    require_transaction(conn)
    rows = conn.execute(
        """update request set answered_at = clock_timestamp()
           where kind = 'link' and answered_at is null
             and asked_at <= clock_timestamp() - make_interval(secs => %(beat)s)
           returning digest""",
        {"beat": BEAT_SECONDS},
    ).fetchall()
    return sorted({digest for (digest,) in rows})


def ask_links(conn: Connection, digests: list[str]) -> None:
    """A message with a new link to each of those whose consent is live and who got none just now. It leaves a while
    later (JITTER_SECONDS), so that its time tells nothing either."""
    require_transaction(conn)
    conn.execute(
        """insert into delivery (delivery_id, subject_id, kind, not_before)
           select gen_random_uuid(), subject_id, 'link', clock_timestamp() + make_interval(
                      secs => %(least)s + random() * (%(most)s - %(least)s))
           from live_consent join subject using (subject_id)
           where address_digest = any(%(digests)s) and not exists (
               select from delivery where delivery.subject_id = subject.subject_id and delivery.kind = 'link'
               and created_at > now() - make_interval(mins => %(minutes)s))
           on conflict (subject_id) where kind = 'link' and state in ('ready', 'running') do nothing""",
        {"digests": digests, "minutes": LINK_MINUTES, "least": JITTER_SECONDS[0], "most": JITTER_SECONDS[1]},
    )


def drop_answered(conn: Connection) -> None:
    conn.execute(
        """delete from request where answered_at is not null
           and asked_at <= clock_timestamp() - make_interval(secs => %(kept)s)""",
        {"kept": KEPT_SECONDS},
    )
