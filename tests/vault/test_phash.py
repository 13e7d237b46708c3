"""The perceptual hash outlives what sellers do to pictures, and tells different ones apart; the index finds all that
are near."""

import io
import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from tests.samples import draw_picture, encode, png
from vault.box import Box, Child
from vault.phash import BAND_BITS, BANDS, BITS, MASKS, NEAR, hash_picture, list_bands, measure_distance
from vault.store import Connection
from vault.store.hashes import list_sightings, save_hashes

FAST = hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with Box() as box, box.batch() as made:
        yield made


def hash_bytes(child: Child, data: bytes) -> bytes | None:
    picture = child.open_picture(data)
    return hash_picture(picture.grey, picture.width, picture.height)


def hash_drawn(child: Child, seed: int) -> bytes:
    phash = hash_bytes(child, encode(draw_picture(seed), 95))
    assert phash is not None
    return phash


def test_pictures_encoded_and_scaled_anew_are_near_themselves(child: Child) -> None:
    """Of drawn pictures, which are noisier than photographs, 97 in 100; at qualities down to 30 and half the size."""
    lots, near = random.Random(7), 0
    for seed in range(200):
        again = hash_bytes(child, encode(draw_picture(seed), lots.randint(30, 95), lots.uniform(0.5, 1.5)))
        assert again is not None
        near += measure_distance(hash_drawn(child, seed), again) <= NEAR
    assert near >= 194


@FAST
@given(first=st.integers(0, 10_000), second=st.integers(0, 10_000))
def test_different_pictures_are_far_from_each_other(child: Child, first: int, second: int) -> None:
    if first != second:
        assert measure_distance(hash_drawn(child, first), hash_drawn(child, second)) > 2 * NEAR


def test_another_format_a_frame_of_one_pixel_and_more_light_change_little(child: Child) -> None:
    picture = draw_picture(7)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=60)
    changed = [
        out.getvalue(),
        encode(picture.crop((1, 1, picture.width - 1, picture.height - 1)), 80),
        encode(picture.point(lambda value: min(255, int(value * 1.1))), 80),
    ]
    for data in changed:
        again = hash_bytes(child, data)
        assert again is not None
        assert measure_distance(hash_drawn(child, 7), again) <= NEAR


def make_flat() -> dict[str, bytes]:
    ramp = Image.linear_gradient("L").resize((200, 200)).convert("RGB")
    line = Image.new("RGB", (200, 200), (255, 255, 255))
    ImageDraw.Draw(line).rectangle((0, 90, 200, 110), fill=(0, 0, 0))
    return {
        "one colour": png(200, 200, "RGB", (200, 30, 40)),
        "one colour, JPEG": encode(Image.new("RGB", (200, 200), (90, 120, 30)), 30),
        "a gradient": encode(ramp, 90),
        "a bar": encode(line, 90),
        "a badge": encode(draw_picture(1, (40, 40)), 90),
    }


@pytest.mark.parametrize("name", make_flat())
def test_what_is_flat_or_tiny_has_no_hash(child: Child, name: str) -> None:
    assert hash_bytes(child, make_flat()[name]) is None


def test_the_box_gives_the_luminance_of_what_it_opened(child: Child) -> None:
    picture = child.open_picture(png(300, 100, "RGB", (0, 255, 0)))
    assert picture.grey.shape == (32, 32)
    assert set(np.unique(picture.grey)) == {150}  # 0.587 of green (ITU-R BT.601)


# -- the index --------------------------------------------------------------------------------------------------------


def flip(phash: bytes, bits: set[int]) -> bytes:
    number = int.from_bytes(phash, "little")
    for bit in bits:
        number ^= 1 << bit
    return number.to_bytes(BITS // 8, "little")


hashes = st.binary(min_size=BITS // 8, max_size=BITS // 8)
some_bits = st.sets(st.integers(0, BITS - 1), max_size=NEAR)
in_band = st.lists(st.integers(0, BAND_BITS - 1), min_size=BANDS, max_size=BANDS)


def spread(first: list[int], second: list[int]) -> set[int]:
    """The hardest flips to find: one in each band, and another in all but the last."""
    return {band * BAND_BITS + bit for bits in (first, second[:-1]) for band, bit in enumerate(bits)}


spread_bits = st.builds(spread, in_band, in_band)


@given(phash=hashes, bits=some_bits | spread_bits)
def test_of_two_near_hashes_one_band_differs_in_one_bit_at_most(phash: bytes, bits: set[int]) -> None:
    probes = {band ^ mask for band in list_bands(phash) for mask in MASKS}
    assert probes & set(list_bands(flip(phash, bits)))


def test_bands_are_numbered_and_never_mixed_up() -> None:
    bands = list_bands(b"\xff" * 32)
    assert len(set(bands)) == BANDS
    assert 2 * BANDS > NEAR, "else two near hashes may differ twice in every band"
    assert {band & (1 << BAND_BITS) - 1 for band in bands} == {(1 << BAND_BITS) - 1}


@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(
    first=hashes,
    flips=st.lists(st.sets(st.integers(0, BITS - 1), max_size=2 * NEAR) | spread_bits, max_size=20),
    bits=some_bits | spread_bits,
)
def test_the_database_finds_exactly_what_is_near(
    conn: Connection, first: bytes, flips: list[set[int]], bits: set[int]
) -> None:
    """Against brute force: hashes at every distance from one, each shown by a listing of its own."""
    known = {f"{number:064x}": flip(first, bits) for number, bits in enumerate(flips)}
    asked = flip(first, bits)
    with conn.transaction(force_rollback=True):
        save_hashes(conn, known | {"f" * 64: asked})
        conn.execute("insert into source (name, card, card_sha256, policy) values ('s', '', '', 'ephemeral')")
        samples = {}
        for sha256 in [*known, "f" * 64]:
            samples[sha256] = conn.execute(
                """with made as (insert into dataset default values returning dataset_id),
                        shown as (insert into page (source_id, url, url_key, kind)
                                  select source_id, %(sha256)s, %(sha256)s, 'page' from source returning page_id),
                        listed as (insert into listing (source_id, dataset_id, url, first_seen, last_seen)
                                   select source_id, dataset_id, %(sha256)s, now(), now() from source, made
                                   returning listing_id)
                   insert into sample (listing_id, page_id, kind, sha256, size)
                   select listing_id, page_id, 'image', %(sha256)s, 1 from listed, shown returning sample_id""",
                {"sha256": sha256},
            ).fetchone()
        (asked_id,) = samples["f" * 64] or (0,)
        conn.execute("set local enable_seqscan = off")
        found = {sighting.theirs for sighting in list_sightings(conn, [asked_id])}
    assert found == {sha256 for sha256, phash in known.items() if measure_distance(asked, phash) <= NEAR}
