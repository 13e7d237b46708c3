"""Step 3, last part: listings find their dataset. In comes a claimed listing whose samples are opened, out go merged
datasets, each with why.

Two listings that come at one time find each other: whichever is compared last sees the other's hashes, which were
committed before its turn was asked for. Nothing is decided on pictures that are still to be opened; a listing is
claimed only when it has none, and is asked for again by each that comes.
"""

from matcher.datasets import count_overlaps, decide
from vault.log import get_logger
from vault.steps import Step
from vault.store.datasets import Link, get_dataset, give_way, join_datasets, lock_datasets
from vault.store.hashes import Sighting, count_pictures, list_hashed_samples, list_sightings, renew_linking
from vault.store.work import LINKING, Claim, finish_rows
from workers.context import Context

PORTION = 100  # samples a query

log = get_logger(__name__)


def link_datasets(context: Context) -> int:
    """One listing; returns how many it took up."""
    claim = context.claim(LINKING, 1)
    if claim is None:
        return 0
    (listing_id,) = claim.ids
    links = [link for link in compare_listing(context, listing_id) if decide(link)]
    joined = save_links(context, claim, listing_id, links)
    for link in joined:
        log.info("two datasets are one", listing_id=listing_id, other_id=link.other_id, shared=link.shared)
    context.asker.ask(Step.DELIVER)  # a message about it waited for this
    return 1


def compare_listing(context: Context, listing_id: int) -> list[Link]:
    """What the listing shares with others."""
    conn = context.conn
    sightings: list[Sighting] = []
    sample_ids = list_hashed_samples(conn, listing_id)
    for start in range(0, len(sample_ids), PORTION):
        sightings += list_sightings(conn, sample_ids[start : start + PORTION])
    sizes = count_pictures(conn, {seen.listing_id for seen in sightings})
    return count_overlaps(listing_id, get_dataset(conn, listing_id), len(sample_ids), sightings, sizes)


def save_links(context: Context, claim: Claim, listing_id: int, links: list[Link]) -> list[Link]:
    """Merge what was decided, the strongest overlap first, and finish, in one transaction; the links that merged two
    datasets. Raises LeaseLost: then nothing is written."""
    conn = context.conn
    with conn.transaction():
        if links:
            lock_datasets(conn, change=True)
            give_way(conn)  # a crawl may hold these listings and want others
        strongest = sorted(links, key=lambda link: (-link.shared, link.other_id))
        joined = [link for link in strongest if join_datasets(conn, link)]
        finish_rows(conn, LINKING, claim.ids, claim.token)
        renew_linking(conn, listing_id)
    return joined
