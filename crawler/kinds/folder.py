"""A folder that a person handed in: one listing a folder, read from the list of its files that was made on receipt.

The list is JSON: the listing's address and title, and of each file its path as the address has it, size and time of
change; of one that is no sample what it is. Long folders come in several lists; they are one listing all the same.
"""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from crawler.cards import Card
from crawler.kinds.reading import NOTHING, Reading, is_handed_in
from crawler.listing import make_listing
from crawler.pages import ParsedPage

MEDIA_TYPE = "application/json; charset=utf-8"


def write_list(listing: str, files: Iterable[dict[str, Any]]) -> bytes:
    """The list as it is kept as evidence, a file a line; the same bytes for the same files."""
    lines = ",\n".join(json.dumps(each, sort_keys=True) for each in files)
    return f'{{"listing": {json.dumps(listing)}, "files": [\n{lines}\n]}}\n'.encode("ascii")


def parse_folder(body: bytes, url: str, content_type: str, card: Card, seen: dt.date | None) -> Reading:
    try:
        found = json.loads(body)
        listing, files = str(found["listing"]), [file for file in found["files"] if file.get("kind")]
        others = Counter(
            str(file.get("refused") or file.get("format")) for file in found["files"] if not file.get("kind")
        )
        offers = {kind: tuple(file["url"] for file in files if file["kind"] == kind and is_handed_in(file["url"]))
                  for kind in ("image", "archive")}  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        return Reading(parsed=NOTHING, text="", problem=f"no list of files: {type(exc).__name__}")
    if not is_handed_in(listing) or not (offers["image"] or offers["archive"]):
        return Reading(parsed=NOTHING, text=f"{len(files)} files", passed_over=others)
    title = unquote(listing.rstrip("/").rpartition("/")[2], errors="replace") or "/"
    made = make_listing(
        url=listing,
        title=title,
        images=offers["image"],
        archives=offers["archive"],
        passwords=card.read.passwords,
        sold=False,
    )
    return Reading(parsed=ParsedPage(listings=(made,), links=()), text=f"{len(files)} files", passed_over=others)
