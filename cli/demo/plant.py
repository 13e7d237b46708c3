"""What lies in the demo's markets, and what is therefore to be found: in come people and pictures, out go folders of
three markets and the planted truth (whose face is in which listing)."""

import hashlib
import io
import json
import random
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.demo.people import (
    HTML_AS_JPG,
    VARIANTS,
    Person,
    cut_middle,
    cut_short,
    draw_bomb,
    draw_nobody,
    list_people,
    open_t1,
    put_beside,
    save_jpeg,
)

SHOP, FORUM, SPA = "shop", "forum", "spa"
MARKETS = (SHOP, FORUM, SPA)
SELLERS = ("阿里数据", "kyc_king", "王牌数据", "leakmaster", "FaceFactory", "小李身份")
TITLES = (
    "5000张人脸 10元",
    "170k face photos + ID",
    "人脸识别 3.2w张 带身份证",
    "30,000 selfies, fresh 2026",
    "实名四件套 500份 ¥800",
    "liveness set: blink nod shake, 1200 people",
    "17万张 高清人脸",
    "12k KYC selfies EU",
)
PRICES = ("¥10", "$120", "35元", "$80", "¥800", "$250", "1,200元", "$45")
ZIP_DATE = (2026, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """A picture to plant: its bytes, and the enrolled people in it."""

    data: bytes
    people: frozenset[str] = frozenset()
    suffix: str = "jpg"


@dataclass(kw_only=True, slots=True)
class Offer:
    """A listing: photos shown on its page, and photos in its archive. `raw_archive` replaces a well-behaved one."""

    photos: list[Photo] = field(default_factory=list)
    packed: list[Photo] = field(default_factory=list)
    raw_archive: bytes | None = None


@dataclass(kw_only=True, slots=True)
class Plan:
    """What is planted. `enrolled`: name -> the photo they enrol with."""

    enrolled: dict[str, bytes]
    offers: dict[str, list[Offer]]

    def expected_alerts(self, markets: tuple[str, ...], ports: dict[str, int]) -> set[tuple[str, str]]:
        """(person, listing address) for every listing that shows them."""
        return {
            (name, listing_url(market, number, ports[market]))
            for market in markets
            for number, offer in enumerate(self.offers[market], 1)
            for photo in (*offer.photos, *offer.packed)
            for name in photo.people
        }

    def expected_photos(self, markets: tuple[str, ...], ports: dict[str, int]) -> set[tuple[str, str, str]]:
        """(person, listing address, SHA-256 of the photo) for every planted photo of an enrolled person."""
        return {
            (name, listing_url(market, number, ports[market]), hashlib.sha256(photo.data).hexdigest())
            for market in markets
            for number, offer in enumerate(self.offers[market], 1)
            for photo in (*offer.photos, *offer.packed)
            for name in photo.people
        }


def listing_url(market: str, number: int, port: int) -> str:
    """The address a market gives its offer."""
    path = {SHOP: f"item/{number}.html", FORUM: f"thread/{number}", SPA: f"offers/{number}"}[market]
    return f"http://127.0.0.1:{port}/{path}"


# -- the small demo ---------------------------------------------------------------------------------------------------


def plan_small() -> Plan:
    """Five people, each planted in shop and forum and some behind JavaScript; strangers, drawings, hostile inputs."""
    people = list_people()
    enrolled = [person for person in people if person.enrols]
    strangers = [person for person in people if not person.enrols]
    return Plan(
        enrolled={person.name: save_jpeg(person.portrait, 92) for person in enrolled},
        offers={
            SHOP: plan_shop(enrolled, strangers),
            FORUM: plan_forum(enrolled, strangers),
            SPA: plan_spa(enrolled, strangers),
        },
    )


def plan_shop(enrolled: list[Person], strangers: list[Person]) -> list[Offer]:
    offers = [Offer(photos=[nobody(number * 10 + each) for each in range(5)]) for number in range(10)]
    for number, person in enumerate(enrolled):
        offers[number].photos.insert(1, show(person, number))
        offers[number].photos.append(show(person, number + 1))
    for number, person in enumerate(strangers):
        offers[5 + number].photos += [stranger(person, variant) for variant in range(3)]
    beside = put_beside(enrolled[0].portrait, strangers[0].portrait)
    offers[7].photos.append(Photo(data=beside, people=frozenset({enrolled[0].name})))
    offers[8].photos.append(Photo(data=save_jpeg(open_t1(), 80), people=frozenset(p.name for p in enrolled[1:])))
    hostile = [Photo(data=draw_bomb(), suffix="png"), Photo(data=HTML_AS_JPG), Photo(data=cut_short(nobody(99).data))]
    offers[9].photos += hostile
    return offers


def plan_forum(enrolled: list[Person], strangers: list[Person]) -> list[Offer]:
    offers = [Offer(packed=[nobody(500 + number * 10 + each) for each in range(6)]) for number in range(7)]
    for number, person in enumerate(enrolled):
        offers[number].packed.insert(2, show(person, number + 2))
        offers[number].photos.append(stranger(strangers[number % 2], number))
    # a zip whose names point outside: they are ignored, and the face in it is found all the same
    slip = show(enrolled[2], 4)
    offers[5].raw_archive = pack_zip(
        [("../../../../etc/cron.d/facewarden", b"* * * * * root true\n"), ("..\\..\\photo.jpg", slip.data),
         ("/absolute.jpg", nobody(700).data)]
    )  # fmt: skip
    offers[5].packed = [slip]
    nested = pack_zip([("a.jpg", nobody(701).data)])
    offers[6].raw_archive = pack_zip([("inner.zip", nested), ("b.jpg", nobody(702).data)])
    offers[6].packed = []
    return offers


def plan_spa(enrolled: list[Person], strangers: list[Person]) -> list[Offer]:
    offers = [Offer(photos=[nobody(900 + number * 10 + each) for each in range(3)]) for number in range(4)]
    offers[0].photos.append(show(enrolled[3], 5))
    offers[1].photos.append(show(enrolled[4], 3))
    offers[2].photos.append(stranger(strangers[1], 2))
    return offers


def show(person: Person, variant: int) -> Photo:
    change = VARIANTS[variant % len(VARIANTS)]
    suffix = "webp" if change.__name__ == "as_webp" else "jpg"
    return Photo(data=change(person.portrait), people=frozenset({person.name}), suffix=suffix)


def stranger(person: Person, variant: int) -> Photo:
    return Photo(data=VARIANTS[variant % len(VARIANTS)](person.portrait))


def nobody(seed: int) -> Photo:
    return Photo(data=draw_nobody(seed))


# -- real faces -------------------------------------------------------------------------------------------------------


PHOTOS_A_LISTING = 20
PHOTOS_AN_ARCHIVE = 500
SHARES = {SHOP: 0.4, FORUM: 0.5, SPA: 0.1}


def plan_faces(photos: dict[str, list[Path]], people: int, images: int, seed: int, markets: tuple[str, ...]) -> Plan:
    """`people` people with two photos or more enrol with the first, cut to a portrait; `images` other photos, the rest
    of theirs included, are spread over the markets. `photos`: name -> files, of people whom no calibration has used."""
    chance = random.Random(seed)
    several = sorted(name for name, files in photos.items() if len(files) > 1)
    chosen = chance.sample(several, people)
    rest = [(name, path) for name in chosen for path in photos[name][1:]]
    others = [(name, path) for name in sorted(photos.keys() - set(chosen)) for path in photos[name]]
    planted = chance.sample(rest, min(len(rest), images))
    planted += chance.sample(others, min(len(others), images - len(planted)))
    chance.shuffle(planted)
    enrolled = set(chosen)
    all_photos = [
        Photo(data=path.read_bytes(), people=frozenset({name} & enrolled), suffix=path.suffix.lstrip(".").lower())
        for name, path in planted
    ]
    offers: dict[str, list[Offer]] = {market: [] for market in MARKETS}
    total = sum(SHARES[market] for market in markets)
    start = 0
    for market in markets:
        count = len(all_photos) - start if market == markets[-1] else round(len(all_photos) * SHARES[market] / total)
        part = all_photos[start : start + count]
        start += count
        size = PHOTOS_AN_ARCHIVE if market == FORUM else PHOTOS_A_LISTING
        for at in range(0, len(part), size):
            piece = part[at : at + size]
            offers[market].append(Offer(packed=piece) if market == FORUM else Offer(photos=piece))
    return Plan(enrolled={name: cut_middle(photos[name][0]) for name in chosen}, offers=offers)


# -- folders ----------------------------------------------------------------------------------------------------------


def write_markets(plan: Plan, folder: Path) -> None:
    """One folder a market: `catalog.json` and `files/`."""
    for market in MARKETS:
        files = folder / market / "files"
        files.mkdir(parents=True)
        items = [write_offer(market, number, offer, files) for number, offer in enumerate(plan.offers[market], 1)]
        (folder / market / "catalog.json").write_text(
            json.dumps({"items": items}, ensure_ascii=False), encoding="utf-8"
        )


def write_offer(market: str, number: int, offer: Offer, files: Path) -> dict[str, Any]:
    names = []
    for index, photo in enumerate(offer.photos):
        name = f"{number}-{index}.{photo.suffix}"
        (files / name).write_bytes(photo.data)
        names.append(name)
    archive = None
    data = offer.raw_archive or (pack_photos(offer.packed) if offer.packed else None)
    if data is not None:
        archive = f"pack-{number}.zip"
        (files / archive).write_bytes(data)
    title, price = TITLES[number % len(TITLES)], PRICES[number % len(PRICES)]
    seller = SELLERS[number % len(SELLERS)]
    text = f"{title}. 样本 samples below, escrow accepted, no refunds. Lot {number}."
    if market != FORUM:
        return {"id": number, "title": title, "seller": seller, "price": price, "text": text, "images": names,
                "archive": archive}  # fmt: skip
    first = {"seller": seller, "text": f"{text} {price}", "images": names, "archive": archive}
    answer: dict[str, Any] = {"seller": "lurker42", "text": "still available?", "images": [], "archive": None}
    return {"id": number, "title": f"{title} {price}", "posts": [first, answer]}


def pack_photos(photos: list[Photo]) -> bytes:
    return pack_zip([(f"{number:05d}.{photo.suffix}", photo.data) for number, photo in enumerate(photos)])


def pack_zip(members: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), data)
    return out.getvalue()
