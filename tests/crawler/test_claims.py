"""What a listing claims besides numbers: kinds of pictures, contacts, language, dates."""

import datetime as dt
import re
import time

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crawler.claims import (
    KIND_HINTS,
    WAYS,
    ContactKind,
    Kind,
    Language,
    find_contacts,
    find_dates,
    find_kinds,
    guess_language,
    list_kinds,
    parse_date,
)
from crawler.numbers import flatten

FRONT, BACK, HAND, SELFIE, VIDEO = (
    Kind.ID_CARD_FRONT, Kind.ID_CARD_BACK, Kind.CARD_IN_HAND, Kind.SELFIE, Kind.LIVENESS_VIDEO,
)  # fmt: skip
BLINK, NOD, SHAKE, MOUTH, NUMBER = (
    Kind.LIVENESS_BLINK, Kind.LIVENESS_NOD, Kind.LIVENESS_SHAKE, Kind.LIVENESS_MOUTH, Kind.PHONE_OR_ID_NUMBER,
)  # fmt: skip
SAID = [
    ("身份证正反面+手持", {FRONT, BACK, HAND}), ("身份证正面", {FRONT}), ("身份证反面", {BACK}),
    ("身份证国徽面", {BACK}), ("自拍照", {SELFIE}),
    ("眨眼点头摇头张嘴视频", {BLINK, NOD, SHAKE, MOUTH, VIDEO}), ("活体视频", {VIDEO}), ("带手机号", {NUMBER}),
    ("姓名+身份证号+照片", {NUMBER}),
    ("不含自拍", set()), ("无手持", set()), ("人脸照片 5000张", set()), ("正脸照片", set()),
    ("ID front/back + selfie", {FRONT, BACK, SELFIE}), ("front and back of ID", {FRONT, BACK}),
    ("passport front", {FRONT}), ("back side of the ID card", {BACK}),
    ("selfie with ID", {SELFIE, HAND}), ("person holding passport", {HAND}), ("ID in hand", {HAND}),
    ("liveness videos", {VIDEO}),
    ("blink, nod and shake head", {BLINK, NOD, SHAKE, VIDEO}), ("opens mouth, turns head", {MOUTH, SHAKE, VIDEO}),
    ("with phone number", {NUMBER}),
    ("SSN included", {NUMBER}), ("no selfie", set()), ("without selfies, ID front", {FRONT}),
    ("blink of an eye", set()), ("Blink-182 photos", set()),
    ("call our phone number: 5551234567", set()), ("front page deals", set()), ("selfie not included", set()),
    ("phone number one store", set()),
    ("селфи с паспортом", {SELFIE, HAND}), ("паспорт с двух сторон", {FRONT, BACK}), ("паспорт в руке", {HAND}),
    ("видео: моргает, кивает", {BLINK, NOD, VIDEO}),
    ("поворот головы, открывает рот", {SHAKE, MOUTH, VIDEO}), ("номер телефона и СНИЛС", {NUMBER}),
    ("без селфи", set()), ("лицевая сторона", {FRONT}),
    ("DNI frente y reverso", {FRONT, BACK}), ("selfie con DNI", {SELFIE, HAND}), ("anverso del DNI", {FRONT}),
    ("DNI en mano", {HAND}),
    ("parpadeo y mueve la cabeza", {BLINK, SHAKE, VIDEO}), ("abre la boca", {MOUTH, VIDEO}),
    ("número de teléfono", {NUMBER}), ("sin selfie", set()),
    ("prueba de vida", {VIDEO}), ("por ambos lados", {FRONT, BACK}),
    ("aadhaar front back", {FRONT, BACK}), ("आधार आगे पीछे", {FRONT, BACK}), ("haath mein aadhaar", {HAND}),
    ("सेल्फी", {SELFIE}), ("bina selfie", set()),
    ("palak jhapakna", {BLINK, VIDEO}), ("sir hilana", {SHAKE, VIDEO}), ("muh kholna", {MOUTH, VIDEO}),
    ("मोबाइल नंबर", {NUMBER}), ("selfie nahi", set()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kinds"), SAID)
def test_claimed_kinds_are_read_and_denied_ones_are_not(text: str, kinds: set[Kind]) -> None:
    assert list_kinds(text) == kinds


CONTACTS = [
    ("TG: @seller_one", [(ContactKind.TELEGRAM, "seller_one")]),
    ("https://t.me/face_shop", [(ContactKind.TELEGRAM, "face_shop")]),
    ("t.me/+AbCd1234efgh", [(ContactKind.TELEGRAM, "+AbCd1234efgh")]),
    ("飞机 @abcde123", [(ContactKind.TELEGRAM, "abcde123")]),
    ("телега seller_ru", [(ContactKind.TELEGRAM, "seller_ru")]),
    ("write @someone_here", [(ContactKind.HANDLE, "someone_here")]),
    ("微信：abc12345", [(ContactKind.WECHAT, "abc12345")]), ("加vx abcd_efg", [(ContactKind.WECHAT, "abcd_efg")]),
    ("wx13800138000", [(ContactKind.WECHAT, "13800138000")]),
    ("QQ：123456789", [(ContactKind.QQ, "123456789")]), ("扣扣12345678", [(ContactKind.QQ, "12345678")]),
    ("a.b+c@proton.me", [(ContactKind.EMAIL, "a.b+c@proton.me")]),
    ("jabber: me@example.org", [(ContactKind.XMPP, "me@example.org")]),
    ("me@exploit.im", [(ContactKind.XMPP, "me@exploit.im")]),
    ("Session 05" + "a1" * 32, [(ContactKind.SESSION, "05" + "a1" * 32)]),
    ("TOX " + "A1" * 38, [(ContactKind.TOX, "A1" * 38)]),
    ("WhatsApp +52 1 55 1234 5678", [(ContactKind.WHATSAPP, "+5215512345678")]),
    ("wa.me/79001234567", [(ContactKind.WHATSAPP, "79001234567")]),
    ("tel: +7 (900) 123-45-67", [(ContactKind.PHONE, "+79001234567")]),
    ("电话 13800138000", [(ContactKind.PHONE, "13800138000")]),
    ("13800138000", []), ("telegram channel", []), ("QQ空间", []), ("5000 photos 2026", []), ("phone photos", []),
    ("a@b", []), ("微信支付", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "contacts"), CONTACTS)
def test_contacts_are_read_only_where_the_text_says_what_they_are(
    text: str, contacts: list[tuple[ContactKind, str]]
) -> None:
    assert [(contact.kind, contact.value) for contact in find_contacts(text)] == contacts


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("5000张人脸 10元", Language.ZH), ("fresh face photos for sale", Language.EN),
        ("продаю базу лиц", Language.RU), ("vendo fotos de caras", Language.ES),
        ("चेहरे की फोटो", Language.HI), ("bhai 5000 log ki photo hai", Language.HI), ("顔写真のデータ", Language.OTHER),
        ("얼굴 사진 데이터", Language.OTHER),
        ("صور وجوه للبيع", Language.OTHER), ("продаємо фотографії облич", Language.OTHER), ("", None),
        ("5000 $10", None), ("KYC", None), ("xyz qwerty", None),
    ],
)  # fmt: skip
def test_a_language_is_guessed_or_left_open(text: str, language: Language | None) -> None:
    assert guess_language(text) == language


SEEN = dt.date(2026, 11, 20)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-03-04", (2026, 3, 4)), ("2026/3/4", (2026, 3, 4)), ("2026年3月4日更新", (2026, 3, 4)),
        ("04.03.2026", (2026, 3, 4)), ("13/04/2026", (2026, 4, 13)),
        ("04/13/2026", (2026, 4, 13)), ("05/05/2026", (2026, 5, 5)), ("12 марта 2026 г.", (2026, 3, 12)),
        ("March 12, 2026", (2026, 3, 12)), ("12th Mar 2026", (2026, 3, 12)),
        ("12 de marzo de 2026", (2026, 3, 12)), ("12 मार्च 2026", (2026, 3, 12)), ("posted yesterday", (2026, 11, 19)),
        ("3 days ago", (2026, 11, 17)),
        ("2 недели назад", (2026, 11, 6)), ("3天前", (2026, 11, 17)), ("hace 3 días", (2026, 11, 17)),
        ("3 din pehle", (2026, 11, 17)),
        ("03/04/2026", None), ("0000-00-00", None), ("9999-01-01", None), ("2026-02-30", None),
        ("31 февраля 2026", None), ("1970-01-01", None), ("2026", None),
        ("March 2026", None), ("v2.1.2026.1", None), ("2026-03-04 and 2026-03-05", None), ("2033-01-01", None),
        ("12:30", None), ("", None),
    ],
)  # fmt: skip
def test_a_date_is_read_only_in_full_and_where_it_is_plausible(text: str, day: tuple[int, int, int] | None) -> None:
    assert parse_date(text, seen=SEEN) == (dt.date(*day) if day else None)


def test_without_the_day_of_the_page_yesterday_is_no_date() -> None:
    assert find_dates("yesterday, 3 days ago") == ()


PIECES = st.lists(
    st.sampled_from(
        [
            "TG",
            ": ",
            "@",
            "abcde",
            "5",
            "2026",
            "-",
            "/",
            ".",
            "03",
            "月",
            "年",
            "日",
            " ",
            "身份证",
            "正面",
            "no ",
            "selfie",
            "марта",
            "\u202e",
            "İ",
            "微信",
        ]
    ),
    max_size=25,
).map("".join)


@given(st.one_of(st.text(max_size=200), PIECES))
def test_no_text_breaks_them_and_each_value_is_a_piece_of_it(text: str) -> None:
    for piece in [
        *(kind.text for kind in find_kinds(text)),
        *(contact.text for contact in find_contacts(text)),
        *(found.text for found in find_dates(text, seen=SEEN)),
    ]:
        assert piece
        assert piece in text
    guess_language(text)


@given(
    st.dates(dt.date(1995, 1, 1), dt.date(2030, 12, 31)),
    st.sampled_from(["%Y-%m-%d", "%Y年%m月%d日", "%d.%m.%Y", "%B %d, %Y", "%d %b %Y"]),
)
def test_a_date_written_in_any_style_reads_back(day: dt.date, style: str) -> None:
    assert parse_date(f"updated {day.strftime(style)}") == day


@pytest.mark.parametrize(
    "text",
    ["@" * 5000, "a@" * 2500,
      "a." * 2500, "tg " * 1666, "微信" * 2500, "5" * 5000, "tel 5" * 1000, "id " * 1666, "2026-" * 1000,
      "phone 5 5 " * 500,

     "front " * 833, "a" * 5000, "selfie " * 714, "no " * 1666,
     " " * 5000, "5 (" * 1666, "a-a@a." * 833, "@abcde " * 700],
)  # fmt: skip
def test_a_hostile_text_costs_no_time(text: str) -> None:
    for read in (find_kinds, find_contacts, find_dates, guess_language):
        read("selfie")
        start = time.process_time()
        read(text)
        assert time.process_time() - start < 0.05, read


@pytest.mark.parametrize("kind", list(Kind))
@hypothesis_settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_no_way_to_say_a_kind_lacks_its_hints(kind: Kind, data: st.DataObject) -> None:
    said = flatten(data.draw(st.from_regex(re.compile(WAYS[kind]), fullmatch=True)))
    assert any(hint in said for hint in KIND_HINTS[kind])
