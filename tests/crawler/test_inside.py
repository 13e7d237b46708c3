"""Pictures that are written into a page as letters are found, however they are written, and hostile letters cost
little."""

import base64
import binascii
import hashlib
import html
import io
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crawler.inside import find_inside, hide_pictures
from tests.samples import draw_picture

Write = Callable[[bytes], bytes]


def save(kind: str = "JPEG", seed: int = 3, size: tuple[int, int] = (40, 36)) -> bytes:
    out = io.BytesIO()
    draw_picture(seed, size).save(out, kind)
    return out.getvalue()


def b64(content: bytes) -> bytes:
    return base64.b64encode(content)


def cut(text: bytes, size: int) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def escape(content: bytes, form: bytes) -> bytes:
    return b"".join(form % byte for byte in content)


def uuencode(content: bytes) -> bytes:
    return b"\nbegin 644 a.jpg\n" + b"".join(map(binascii.b2a_uu, cut(content, 45))) + b"`\nend\n"


SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><image href='data:image/jpeg;base64,%s'/></svg>"
DATA = b'<img src="data:image/jpeg;base64,%s">'
WRITTEN: dict[str, Write] = {
    "src": lambda c: DATA % b64(c),
    "srcset": lambda c: b'<img srcset="data:image/jpeg;base64,%s 2x, /a.jpg 1x">' % b64(c),
    "poster": lambda c: b"<video poster='data:;base64,%s'></video>" % b64(c),
    "href of a text": lambda c: b'<a href="data:text/plain;base64,%s">x</a>' % b64(c),
    "without quotes": lambda c: b"<img src=data:image/jpeg;base64,%s >" % b64(c).rstrip(b"="),
    "upper case": lambda c: b'<img src="DATA:IMAGE/JPEG;BASE64,%s">' % b64(c),
    "a scheme with breaks in it": lambda c: b'<img src="d\na\tta:image/jpeg;base64,%s">' % b64(c),
    "lines": lambda c: DATA % b"\n".join(cut(b64(c), 76)),
    "short lines": lambda c: DATA % b"\n  ".join(cut(b64(c), 8)),
    "the alphabet of addresses": lambda c: DATA % base64.urlsafe_b64encode(c).rstrip(b"="),
    "percent signs in base64": lambda c: DATA % quote(b64(c), safe="").encode(),
    "percent signs twice": lambda c: DATA % quote(quote(b64(c), safe=""), safe="").encode(),
    "percent signs": lambda c: b'<img src="data:image/jpeg,%s">' % quote(c).encode(),
    "percent signs everywhere": lambda c: b'<img src="data:image/jpeg,%s">' % escape(c, b"%%%02x"),
    "entities": lambda c: b"<img src='data&colon;image/jpeg;base64&#44;%s'>" % b64(c).replace(b"/", b"&#x2F;"),
    "style": lambda c: b"<p style=\"background:url('data:image/jpeg;base64,%s')\">" % b64(c),
    "style sheet": lambda c: b"<style>p{background:url(data:image/jpeg;base64,%s)}</style>" % b64(c),
    "style sheet, escaped": lambda c: (
        b"p{background:url(\\64\\61\\74\\61\\3a image/jpeg;base64,%s)}" % b64(c).replace(b"/", b"\\2f ")),
    "script": lambda c: b"<script>a = 'data:image/jpeg;base64,%s'</script>" % b64(c),
    "script, joined": lambda c: b"var a = '" + b"' +\n '".join(cut(b64(c), 100)) + b"';",
    "script, joined far apart": lambda c: b"var a = '" + (b"'\n" + b" " * 30 + b"+ '").join(cut(b64(c), 100)) + b"';",
    "script, a list": lambda c: b"var a = ['" + b"', '".join(cut(b64(c), 100)) + b"'].join('');",
    "script, x": lambda c: b"var a = '" + escape(c, b"\\x%02x") + b"';",
    "script, u": lambda c: b"var a = '" + escape(c, b"\\u00%02X") + b"';",
    "numbers": lambda c: b"new Uint8Array([" + b", ".join(b"%d" % byte for byte in c) + b"])",
    "numbers of base 16": lambda c: b"[" + b", ".join(b"0x%x" % byte for byte in c) + b"]",
    "hex digits": lambda c: b"x = '" + c.hex().encode() + b"'",
    "JSON": lambda c: json.dumps({"photo": b64(c).decode()}).replace("/", "\\/").encode(),
    "JSON in an attribute": lambda c: html.escape(json.dumps({"photo": b64(c).decode()})).encode(),
    "mail": lambda c: b"\r\n\r\n" + b"\r\n".join(cut(b64(c), 76)) + b"\r\n--0000000000000000000000000000boundary--",
    "uuencode": uuencode,
    "a drawing": lambda c: b'<img src="data:image/svg+xml;base64,%s">' % b64(SVG % b64(c)),
    "a drawing, percent signs": lambda c: b'<img src="data:image/svg+xml,%s">' % quote(SVG % b64(c)).encode(),
    "a page in a page": lambda c: b"<iframe src='data:text/html;base64,%s'>" % b64(DATA % b64(c)),
    "bytes before": lambda c: DATA % b64(b"\n" + c),
    "many bytes before": lambda c: DATA % b64(b"z" * 5000 + c),
    "letters before": lambda c: b"img-x" + b64(c),
}  # fmt: skip


@pytest.mark.parametrize("how", WRITTEN)
def test_a_picture_is_found_as_it_was_however_it_is_written(how: str) -> None:
    content = save()
    found = find_inside(b"<html><p>5000 faces</p>" + WRITTEN[how](content) + b"<p>more</p></html>")
    assert [(each.name, each.content, each.is_small) for each in found] == [("JPEG", content, False)]
    assert found[0].sha256 == hashlib.sha256(content).hexdigest()
    assert found[0].md5 == hashlib.md5(content).hexdigest()


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "PPM", "TIFF"])
def test_a_picture_of_any_format_is_found(kind: str) -> None:
    content = save(kind)
    assert [each.content for each in find_inside(DATA % b64(content))] == [content]


def test_several_pictures_are_found_in_their_order_and_each_once() -> None:
    first, second = save(seed=1), save("PNG", seed=2)
    page = b"".join((DATA % b64(first), DATA % b64(second), WRITTEN["numbers"](first)))
    assert [each.content for each in find_inside(page)] == [first, second]


def test_spacers_are_found_and_named_small() -> None:
    assert [each.is_small for each in find_inside(DATA % b64(save("GIF", size=(1, 1))))] == [True]


@pytest.mark.parametrize(
    "text",
    [
        b"<p>5000 faces, 10 yuan</p>" * 200,
        b"data:text/plain;base64," + b64(b"only words, and a lot of them. " * 50),
        b"sha512-" + b64(bytes(range(64))),
        b"AAAA" * 2000,
        b"%PDF-1.7 data:application/pdf;base64," + b64(b"%PDF-1.7\n" + bytes(range(256)) * 4),
        b"data:font/woff2;base64," + b64(b"wOF2" + bytes(range(256)) * 4),
        "五千张人脸 Продам базу ".encode() * 100,
    ],
)
def test_what_is_no_picture_is_none(text: bytes) -> None:
    assert find_inside(text) == []


HOSTILE: dict[str, Callable[[], bytes]] = {
    "base64 of anything": lambda: b64(bytes(range(256)) * 48_000),
    "data:": lambda: b"data:" * (3 << 20),
    "data:,": lambda: b"data:," * (2 << 20),
    "percent signs": lambda: b"%41" * (5 << 20),
    "escapes": lambda: b"\\x41" * (4 << 20),
    "entities": lambda: b"&#65;" * (3 << 20),
    "backslashes": lambda: b"\\" * (16 << 20),
    "lines": lambda: (b"A" * 40 + b"\n") * 400_000,
    "numbers": lambda: b"255,216,255," * (1 << 20),
    "hex digits": lambda: b"ffd8ff" * (2 << 20),
    "heads of JPEG": lambda: b64(b"\xff\xd8\xff\xe0\0\4ab\xff" * (1 << 20)),
    "heads of GIF": lambda: b64(b"GIF89a\1\0\1\0\0\0\0," * (1 << 19)),
    "base64 four times": lambda: b64(b64(b64(b64(b"x" * (4 << 20))))),
    "ten thousand pictures": lambda: b"".join(
        DATA % b64(b"GIF89a\x14\0\x14\0\x80\0\0" + number.to_bytes(6) + b",;") for number in range(10_000)),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_sixteen_megabytes_of_hostile_letters_cost_seconds(what: str) -> None:
    text = HOSTILE[what]()
    began = time.process_time()
    found = find_inside(text)
    assert time.process_time() - began < 7, "of the ten that a page has"
    assert len(found) == 10_000 or len(found) <= 1


def test_pictures_are_taken_out_of_a_text_and_words_stay() -> None:
    content = save()
    text = f"5000 faces {b64(content).decode()} 10 yuan"
    assert hide_pictures(text).startswith("5000 faces")
    assert hide_pictures(text).endswith("10 yuan")
    assert find_inside(hide_pictures(text).encode()) == []
    assert b64(content).decode()[100:160] not in hide_pictures(text)
    assert hide_pictures("5000 faces") == "5000 faces"


@hypothesis_settings(deadline=None, max_examples=200)
@given(st.binary(max_size=400), st.sampled_from(sorted(WRITTEN)), st.binary(max_size=400))
def test_nothing_around_a_picture_breaks_the_search(before: bytes, how: str, behind: bytes) -> None:
    find_inside(before + WRITTEN[how](save())[:600] + behind)
