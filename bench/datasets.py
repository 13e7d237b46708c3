"""Does a resale join its dataset, and nothing else? Lists unrelated sets of real pictures, and resales of some of them
in which a part of the pictures is taken over, encoded anew, and the rest is new; compares them all; counts.

    .venv/bin/python -m bench.datasets --folder FOLDER
    .venv/bin/python -m bench.datasets --folder FOLDER --sets 20 --size 500 --resold 4 --json bench/out/datasets.json

Pictures are decoded and hashed in the box as in use; faces are not looked for. Listings come in a random order, a
resale often before its original, and are compared when all are there. What is taken over is scaled to 50-100 %, made a
JPEG of quality 30-95, and with `--crop 0.01` cut by 1 % on each side. `--furniture` gives every listing so many
pictures more that all of them show, encoded anew each time: banners, badges, examples.
"""

import argparse
import datetime as dt
import hashlib
import io
import json
import random
import statistics
import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from PIL import Image

from bench.servers import start_servers
from vault.box import Child
from vault.phash import hash_picture
from vault.records import Capture, Listing, PageKind, Policy
from vault.store import Connection
from vault.store.captures import save_captures
from vault.store.hashes import ask_linking, save_hashes
from vault.store.listings import Shown, save_listings
from vault.store.pages import NewPage, add_pages
from vault.store.samples import NewSample, save_samples
from vault.store.sources import SourceCard, save_source
from workers.context import Context
from workers.link_datasets import link_datasets

SHARES = (0.3, 0.5, 0.7)


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A listing to be: which set it sells, and its pictures; those that are taken over are to be encoded anew."""

    name: str
    resale: bool
    origin: int
    taken: tuple[Path, ...]
    own: tuple[Path, ...]


def plan_offers(
    pictures: list[Path], sets: int, size: int, resold: int, furniture: int, rng: random.Random
) -> list[Offer]:
    """`sets` sets that have only their furniture in common, and of the first `resold` one resale a share, filled up
    with new pictures."""
    fresh = iter(rng.sample(pictures, len(pictures)))
    common = tuple(take(fresh, furniture))
    offers = [
        Offer(name=f"set {number}", resale=False, origin=number, taken=common, own=tuple(take(fresh, size)))
        for number in range(sets)
    ]
    for number in range(resold):
        for share in SHARES:
            taken = rng.sample(offers[number].own, round(size * share))
            own = tuple(take(fresh, size - len(taken)))
            name = f"{share:.0%} of set {number}"
            offers.append(Offer(name=name, resale=True, origin=number, taken=(*common, *taken), own=own))
    return rng.sample(offers, len(offers))


def take(pictures: Any, count: int) -> list[Path]:
    taken = [path for path, _ in zip(pictures, range(count), strict=False)]
    if len(taken) < count:
        raise SystemExit("the folder has too few pictures for this")
    return taken


def change_picture(path: Path, scale: float, quality: int, crop: float) -> bytes:
    """What a reseller makes of a picture."""
    picture = Image.open(path).convert("RGB")
    dx, dy = round(picture.width * crop), round(picture.height * crop)
    picture = picture.crop((dx, dy, picture.width - dx, picture.height - dy))
    out = io.BytesIO()
    picture.resize((round(picture.width * scale), round(picture.height * scale))).save(out, "JPEG", quality=quality)
    return out.getvalue()


def list_offer(conn: Connection, child: Child, offer: Offer, rng: random.Random, crop: float) -> int:
    """Rows as the crawler and `embed_samples` leave them; the listing's id."""
    source = save_source(
        conn,
        SourceCard(name=f"market-{rng.randrange(5)}", text="card", sha256="0" * 64, policy=Policy.EPHEMERAL,
                   signers=("1" * 64, "2" * 64)),
    )  # fmt: skip
    url = f"http://market.example/{offer.name}"
    key = hashlib.sha256(url.encode()).hexdigest()
    ids, _ = add_pages(conn, source.source_id, [NewPage(url=url, url_key=key, kind=PageKind.PAGE, depth=0)])
    capture = Capture(page_id=ids[key], warc_file="none", warc_offset=0, warc_length=0, sha256=key,
                      media_type="text/html", captured_at=dt.datetime.now(dt.UTC))  # fmt: skip
    listing = Listing(url=url, title=offer.name, seller="s", description="", price_text="", price=Decimal(1),
                      currency=None, claimed_text="", claimed_count=None, invalid_fields=(), images=(),
                      archives=())  # fmt: skip
    shown = Shown(page_id=ids[key], capture_id=save_captures(conn, [capture])[ids[key]], listing=listing)
    (listing_id,) = save_listings(conn, source.source_id, [shown])
    bodies = [path.read_bytes() for path in offer.own]
    for path in offer.taken:
        bodies.append(change_picture(path, rng.uniform(0.5, 1), rng.randint(30, 95), crop))
    hashes: dict[str, bytes] = {}
    for body in bodies:
        picture = child.open_picture(body)
        phash = hash_picture(picture.grey, picture.width, picture.height)
        if phash is not None:
            hashes[hashlib.sha256(body).hexdigest()] = phash
    samples = [NewSample(kind=PageKind.IMAGE, sha256=hashlib.sha256(body).hexdigest(), size=len(body))
               for body in bodies]  # fmt: skip
    with conn.transaction():
        save_samples(conn, listing_id, ids[key], samples)
        conn.execute("update sample set state = 'done' where listing_id = %(id)s", {"id": listing_id})
        save_hashes(conn, hashes)
        ask_linking(conn, [listing_id])
    return listing_id


def measure(context: Context, offers: list[Offer], rng: random.Random, crop: float) -> dict[str, Any]:
    conn = context.conn
    with context.box.batch() as child:
        ids = {list_offer(conn, child, offer, rng, crop): offer for offer in offers}
    conn.execute("analyze")
    times: list[float] = []
    started = time.perf_counter()
    while link_datasets(context):
        times.append(time.perf_counter() - started)
        started = time.perf_counter()
    found: dict[int, list[Offer]] = {}
    for listing_id, dataset_id in conn.execute("select listing_id, dataset_id from listing").fetchall():
        found.setdefault(dataset_id, []).append(ids[listing_id])
    firsts = {offer.origin: group for group in found.values() for offer in group if not offer.resale}
    resales = [offer for offer in offers if offer.resale]
    strangers = [offer.name for group in found.values() for offer in group
                 if any(other.origin != offer.origin for other in group)]  # fmt: skip
    missed = [offer.name for offer in resales if offer not in firsts[offer.origin]]
    return {
        "listings": len(offers),
        "pictures": sum(len(offer.own) + len(offer.taken) for offer in offers),
        "resales": len(resales),
        "joined": len(resales) - len(missed),
        "missed": sorted(missed),
        "falsely_joined": sorted(strangers),
        "datasets": len(found),
        "links": [list(row) for row in conn.execute(
            """select listing_version.title, other.title, shared, exact, common, listing_size from dataset_link
               join listing_version using (listing_id) join listing_version as other on other.listing_id = other_id
               order by link_id""").fetchall()],
        "ms_a_listing_median": round(statistics.median(times) * 1000, 1),
        "ms_a_listing_most": round(max(times) * 1000, 1),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="JPEG pictures, in folders or not, no two alike")
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--size", type=int, default=500, help="pictures a listing")
    parser.add_argument("--resold", type=int, default=4, help="of how many sets there are resales of 30, 50 and 70 %%")
    parser.add_argument("--furniture", type=int, default=0, help="pictures more that every listing shows")
    parser.add_argument("--crop", type=float, default=0.0, help="how much is cut off each side of what is taken over")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    rng = random.Random(args.seed)
    offers = plan_offers(sorted(args.folder.rglob("*.jpg")), args.sets, args.size, args.resold, args.furniture, rng)
    with start_servers("datasets") as settings:
        context = Context(settings)
        try:
            table = measure(context, offers, rng, args.crop)
        finally:
            context.close()
    for name, value in table.items():
        print(f"{name:20} {value if name != 'links' else len(value)}")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(table, indent=1, ensure_ascii=False), encoding="utf-8")
    return int(bool(table["missed"] or table["falsely_joined"]))


if __name__ == "__main__":
    sys.exit(main())
