"""Small makers of rows and pictures that several rooms' tests need. Everything is drawn or ships with a package."""

import datetime as dt
import hashlib
import io
from uuid import UUID

import numpy as np
from PIL import Image

from cli.commands.enrol import enrol
from cli.demo.people import list_people, save_jpeg
from crawler.capture import WarcFile, seal_body
from tests.approvers import TWO, approve_enrolment, trust_two
from vault.blobs import sync_blobs
from vault.keys import Keys
from vault.ledger import Kind
from vault.records import Capture, Listing, PageKind, Policy
from vault.settings import Settings
from vault.steps import Step
from vault.store import Connection
from vault.store.blobs import keep_blob
from vault.store.captures import (
    list_captures,
    list_source_captures,
    read_record,
    read_warc_info,
    save_captures,
    save_warc_info,
)
from vault.store.keys import save_keys
from vault.store.ledger import write_entry
from vault.store.listings import Shown, save_listings
from vault.store.pages import NewPage, add_pages
from vault.store.requests import ask_links
from vault.store.samples import NewSample, save_samples
from vault.store.sources import SourceCard, save_source
from vault.store.subjects import confirm_consent, digest_address, find_subject
from workers.app import take_turn
from workers.context import Context
from workers.make_templates import make_templates

PAGE = "<html><h1>5000张人脸 10元</h1></html>".encode()
PEOPLE = {person.name: person for person in list_people()}
ENROLLED = [person for person in PEOPLE.values() if person.enrols]
STRANGERS = [person for person in PEOPLE.values() if not person.enrols]


def portrait(name: str, quality: int = 92) -> bytes:
    return save_jpeg(PEOPLE[name].portrait, quality)


def png(width: int, height: int, mode: str = "RGB", colour: object = 0) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height), colour).save(out, "PNG")  # type: ignore[arg-type]
    return out.getvalue()


def draw_picture(seed: int, size: tuple[int, int] = (240, 200)) -> Image.Image:
    """A drawn picture that looks like no other: colours that flow into each other."""
    colours = np.random.default_rng(seed).integers(0, 256, (10, 12, 3), np.uint8)
    return Image.fromarray(colours, "RGB").resize(size, Image.Resampling.BICUBIC)


def encode(picture: Image.Image, quality: int, scale: float = 1.0) -> bytes:
    """A JPEG of the picture, scaled."""
    out = io.BytesIO()
    picture.resize((round(picture.width * scale), round(picture.height * scale))).save(out, "JPEG", quality=quality)
    return out.getvalue()


def make_listing(
    conn: Connection,
    name: str = "test-source",
    *,
    policy: Policy = Policy.EPHEMERAL,
    days: int = 0,
    signers: tuple[str, ...] = TWO,
    alone: bool = False,
) -> int:
    """A source with one page, captured, that shows one listing; the listing's id. Two approvers have signed its card,
    unless it is said who did."""
    card = SourceCard(name=name, text="card", sha256=hashlib.sha256(b"card").hexdigest(), policy=policy, days=days,
                      signers=signers, alone=alone)  # fmt: skip
    source = save_source(conn, card)
    url = f"http://{name}.example/item/1"
    key = hashlib.sha256(url.encode()).hexdigest()
    ids, _ = add_pages(conn, source.source_id, [NewPage(url=url, url_key=key, kind=PageKind.PAGE, depth=0)])
    conn.execute("update page set state = 'done' where page_id = %s", [ids[key]])
    now = dt.datetime.now(dt.UTC)
    capture = Capture(
        page_id=ids[key], warc_file="none.warc.gz", warc_offset=0, warc_length=0,
        sha256=hashlib.sha256(url.encode()).hexdigest(), media_type="text/html", captured_at=now,
    )  # fmt: skip
    capture_id = save_captures(conn, [capture])[ids[key]]
    listing = Listing(
        url=url, title="5000张人脸 10元", seller="seller", description="text", price_text="10元", price=None,
        currency="CNY", claimed_text="5000张", claimed_count=5000, invalid_fields=(), images=(), archives=(),
    )  # fmt: skip
    return save_listings(conn, source.source_id, [Shown(page_id=ids[key], capture_id=capture_id, listing=listing)])[0]


def add_sample(context: Context, listing_id: int, content: bytes, kind: PageKind = PageKind.IMAGE) -> str:
    """Keep bytes as a sample of a listing, as the crawler would; their SHA-256."""
    conn = context.conn
    writer = seal_body(context.blobs, content)
    sync_blobs(context.blobs, [writer.key_id])
    row = conn.execute(
        "select page.page_id from listing join page using (source_id) where listing_id = %s", [listing_id]
    )
    (page_id,) = row.fetchone() or (0,)
    with conn.transaction():
        keep_blob(conn, context.keys, writer.sha256, writer.size, writer.key_id, writer.data_key)
        sample = NewSample(kind=kind, sha256=writer.sha256, size=writer.size)
        save_samples(conn, listing_id, page_id, [sample])
        write_entry(conn, Kind.CAPTURE, about=writer.sha256, url_sha256="", by="test")
    return writer.sha256


def enrol_person(context: Context, name: str, *, confirmed: bool = True, signed: bool = True) -> UUID:
    """Enrol one of the demo's people through the common door; make the template, have two approvers sign, confirm."""
    trust_two(context.conn, context.keys)
    address = f"{name}@test.example"
    enrol(context.conn, context.keys, context.settings, address, portrait(name), recorded_by="test")
    while make_templates(context):
        pass
    subject_id = find_subject(context.conn, context.keys, address)
    assert subject_id is not None
    if signed:
        approve_enrolment(context.conn, context.keys, subject_id)
    if confirmed:
        confirm_consent(context.conn, subject_id)
    return subject_id


def ask_link(context: Context, address: str) -> None:
    """A message with a new link waits for the person with this address, as after their request was answered."""
    with context.conn.transaction():
        ask_links(context.conn, [digest_address(context.keys, address)])
    context.conn.execute("update delivery set not_before = null where kind = 'link'")


def count(conn: Connection, query: str, *values: object) -> int:
    row = conn.execute(query.encode(), values).fetchone()
    assert row is not None
    return int(row[0])


def open_warcs(conn: Connection, keys: Keys, settings: Settings) -> list[bytes]:
    """What the sealed WARC files hold, each record under the key of its row, in the order in which they lie there."""
    folder = settings.home / "warc"
    files: dict[str, list[int]] = {}
    for (source_id,) in conn.execute("select source_id from source").fetchall():
        for file, ids in list_source_captures(conn, source_id):
            if (folder / file).exists():  # `make_listing` writes none
                files.setdefault(file, []).extend(ids)
    return [
        b"".join(
            [
                read_warc_info(conn, keys, folder, file) or b"",
                *(read_record(keys, folder, each) for capture_id in ids for each in list_captures(conn, [capture_id])),
            ]
        )
        for file, ids in sorted(files.items())
    ]


def capture_listing(context: Context, listing_id: int) -> None:
    """Give the listing's page a real WARC record, as the crawler would."""
    conn = context.conn
    page_id = count(
        conn,
        "select page_id from capture join listing_version using (capture_id) where listing_id = %s",
        listing_id,
    )
    with WarcFile(context.settings.home / "warc", "test") as warc:
        made = warc.write_response(
            page_id, "http://test.example/", 200, [("Content-Type", "text/html")], PAGE, "text/html"
        )
        warc.sync()
    assert made.key is not None and warc.info is not None
    save_warc_info(conn, context.keys, warc.info)
    save_keys(conn, context.keys, [(made.key.key_id, made.key.value)], "capture")
    conn.execute(
        """update capture set warc_file = %s, warc_offset = %s, warc_length = %s, sha256 = %s, key_id = %s
           where page_id = %s""",
        [made.warc_file, made.warc_offset, made.warc_length, made.sha256, made.key.key_id, page_id],
    )
    write_entry(conn, Kind.CAPTURE, about=made.sha256, url_sha256="", by="test")


def run_steps(context: Context) -> None:
    """Every step until nothing is left."""
    while sum(take_turn(context, step) for step in Step):
        pass


def raise_alert(context: Context, listing_id: int) -> UUID:
    """The alert about somebody enrolled whose picture the listing shows, made by the steps themselves."""
    enrol_person(context, "astronaut")
    add_sample(context, listing_id, portrait("astronaut", 60))
    run_steps(context)
    (alert_id,) = context.conn.execute("select alert_id from alert").fetchone() or (None,)
    assert isinstance(alert_id, UUID)
    return alert_id
