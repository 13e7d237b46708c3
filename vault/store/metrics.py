"""Numbers for Prometheus, counted when they are asked for: one pass a table, no name of a person in any of them, and
nothing of a match that operators may not know of."""

from collections import Counter
from dataclasses import dataclass

from vault.store import Connection
from vault.store.passed_over import count_passed_over
from vault.store.samples import count_formats, count_partial

STEPS_OF_PAGES = "crawl"
STEPS_OF_SAMPLES = {"image": "embed_samples", "archive": "open_archives"}
STEP_OF_FACES = "match_faces"

Labels = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """Each a count of rows by its labels, in the order of the field's comment."""

    pages: dict[Labels, int]  # kind, state
    listings: dict[Labels, int]  # state
    samples: dict[Labels, int]  # kind, state
    faces: dict[Labels, int]  # state, outcome
    matches: dict[Labels, int]  # band, held
    alerts: dict[Labels, int]  # state
    queue: dict[Labels, int]  # step
    refused: dict[Labels, int]  # code
    health: dict[Labels, int]  # source, health: always 1
    crawled: dict[Labels, int]  # source: Unix time of the last whole crawl
    formats: dict[Labels, int]  # format that is not read
    passed_over: dict[Labels, int]  # source
    blobs: int
    blob_bytes: int
    truncated: int
    faces_left_out: int


def read_numbers(conn: Connection) -> Numbers:
    pages, samples, faces = count_pages(conn), count_samples(conn), count_faces(conn)
    queue = count_waiting(conn)
    refused: Counter[str] = Counter()
    for (_, state, code), number in pages.items():
        queue[STEPS_OF_PAGES] += number if state == "ready" else 0
        refused[code] += number if state == "quarantined" else 0
    for (kind, state, code, notice), number in samples.items():
        queue[STEPS_OF_SAMPLES[kind]] += number if state == "ready" else 0
        refused[code] += number if state == "quarantined" else 0
        refused[notice] += number
    queue[STEP_OF_FACES] += sum(number for (state, _), number in faces.items() if state == "ready")
    health, crawled = read_sources(conn)
    blobs, blob_bytes = count_blobs(conn)
    partial = count_partial(conn)
    return Numbers(
        pages=fold(pages, 2),
        listings=count_listings(conn),
        samples=fold(samples, 2),
        faces=faces,
        matches=count_matches(conn),
        alerts=count_alerts(conn),
        queue={(step,): number for step, number in queue.items()},
        refused={(code,): number for code, number in refused.items() if code and number},
        health=health,
        crawled=crawled,
        formats={(name,): number for name, number in count_formats(conn).items()},
        passed_over={(name,): sum(kinds.values()) for name, kinds in count_passed_over(conn).items()},
        blobs=blobs,
        blob_bytes=blob_bytes,
        truncated=partial["truncated"],
        faces_left_out=partial["faces_left_out"],
    )


def fold(counts: dict[Labels, int], length: int) -> dict[Labels, int]:
    """The same counts by their first labels only."""
    folded: Counter[Labels] = Counter()
    for labels, number in counts.items():
        folded[labels[:length]] += number
    return dict(folded)


def count_pages(conn: Connection) -> dict[Labels, int]:
    rows = conn.execute(
        """select kind, state::text, coalesce(error_code, ''), count(*) from page group by kind, state, error_code"""
    ).fetchall()
    return {(kind, state, code): number for kind, state, code, number in rows}


def count_samples(conn: Connection) -> dict[Labels, int]:
    rows = conn.execute(
        """select kind, state::text, coalesce(error_code, ''), coalesce(notice, ''), count(*) from sample
           group by kind, state, error_code, notice"""
    ).fetchall()
    return {(kind, state, code, notice): number for kind, state, code, notice, number in rows}


def count_faces(conn: Connection) -> dict[Labels, int]:
    rows = conn.execute(
        "select state::text, coalesce(outcome, ''), count(*) from face group by state, outcome"
    ).fetchall()
    return {(state, outcome): number for state, outcome, number in rows}


def count_listings(conn: Connection) -> dict[Labels, int]:
    return {(state,): number for state, number in conn.execute("select state, count(*) from listing group by 1")}


def count_matches(conn: Connection) -> dict[Labels, int]:
    rows = conn.execute("select band, coalesce(held, ''), count(*) from shown_match group by band, held").fetchall()
    return {(band, held): number for band, held, number in rows}


def count_alerts(conn: Connection) -> dict[Labels, int]:
    return {(state,): number for state, number in conn.execute("select state, count(*) from shown_alert group by 1")}


def count_waiting(conn: Connection) -> Counter[str]:
    """Rows that wait for a step, of those tables that have no count of their own. Messages that somebody asked for, and
    the ledger's entries of messages, are not among them: their number would tell who is enrolled."""
    rows = conn.execute(
        """select 'make_templates', count(*) from template where state = 'ready'
           union all select 'make_negatives', count(*) from shown_negative where state = 'ready'
           union all select 'deliver', count(*) from shown_delivery where state = 'ready' and kind <> 'link'
           union all select 'answer_requests', count(*) from request where answered_at is null
           union all select 'seal_bundles', count(*) from bundle where state = 'ready'
           union all select 'erase_subjects', count(*) from erasure where state = 'ready'
           union all select 'chain_ledger', count(*) from ledger
                     where position is null and entry not like '%"kind":"delivery"}'"""
    ).fetchall()
    return Counter(dict(rows))


def count_blobs(conn: Connection) -> tuple[int, int]:
    """How many encrypted files are kept, and the bytes of what is inside."""
    row = conn.execute("select count(*), coalesce(sum(size), 0)::bigint from blob").fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def read_sources(conn: Connection) -> tuple[dict[Labels, int], dict[Labels, int]]:
    """How every source is (a pause stands before its health), and when it was last crawled to the end."""
    rows = conn.execute(
        """select name, case state when 'paused' then 'paused' else health end,
                  extract(epoch from last_crawl_at)::bigint from source"""
    ).fetchall()
    health: dict[Labels, int] = {(name, state): 1 for name, state, _ in rows}
    return health, {(name,): at for name, _, at in rows if at is not None}
