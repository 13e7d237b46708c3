"""In comes a text, out come its prices, and what one face costs; a number is a price only beside a currency."""

import functools
import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import NamedTuple

from crawler.numbers.counts import (
    ADJECTIVES,
    JOINS,
    LONGER,
    NOUN,
    ORDINAL,
    RANGE_START,
    UNIT,
    Counted,
    count_by,
    find_qualifier,
)
from crawler.numbers.numerals import HAN, HAN_UNITS, NUMERAL, SCALE, Bound, Numeral, read_han, scan_numerals
from crawler.numbers.offers import BETWEEN_TWO, EITHER_IS_WELCOME, choose_current, find_asked, find_given, is_current
from crawler.numbers.text import (
    BOTH_SIDES,
    CODE_OF,
    FRACTIONS,
    LETTER,
    LONGEST_TEXT,
    NOT_LETTER,
    WINDOW,
    Lazy,
    alternate,
    alternate_marks,
    flatten,
)
from crawler.numbers.words import SCALE_OF, WORD_OF

HIGHEST_PRICE = Decimal(10) ** 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Money:
    """A price, "0.2元/张": 0.2 CNY for each photo. `per` is None for a price of all, currency None where unsure."""

    text: str
    amount: Decimal
    currency: str | None
    per: Counted | None
    per_count: int  # "$10 per 1000 photos": 1000
    bound: Bound


WORTH = {mark: Decimal(worth) for each in FRACTIONS.values() for worth, marks in each.items() for mark in marks.split()}
LOOSE = {
    "$": {"USD", "HKD", "TWD", "CAD", "AUD", "SGD", "MXN", "ARS", "COP", "CLP", "BRL", "USDT", "USDC", ""},
    "¥": {"CNY", "JPY"},
    "元": {"CNY", "JPY", "USD", "HKD", "TWD", "EUR", "SGD"},  # 港币600元
}
WHOLE = frozenset(("EUR", "RUB", "UAH", "KZT", "ARS", "COP", "CLP", "BRL", ""))  # written 1.200 for 1200 at home
COINS = frozenset(("BTC", "ETH", "XMR", "LTC", "TRX", "TON"))  # have fractions of any length
COUNTRIES = "usd|mxn|ars|cop|clp|cad|aud|sgd|hkd|twd|rmb|cny|jpy|人民币"
MARK = Lazy(rf"(?:(?<![{LETTER}])(?P<country>{COUNTRIES}) ?(?=[$¥]))?(?P<mark>{alternate_marks(CODE_OF)})")
PER_SCALE = alternate(
    """k к w тыс. тыс тысячу тысяч сотню thousand hundred mil cien cientos hazaar hazar hajar sau lakh हज़ार
        हजार सौ लाख 百 千 万 l"""
)
PER_AFTER = Lazy(
    rf"""[ ]?(?P<word>/(?!-)|per|for[ ](?:each|every)|each|every|an?|за(?:[ ]кажд\w{{2,3}}|[ ]одну|[ ]одно|[ ]один)?
           |por(?:[ ]cada)?(?:[ ]una?)?|cada|la|el|[一每]|1(?=[张套份个人条组])|प्रति|prati|ek|har|एक|हर|का)[ ]?
         (?:(?P<n>\d{{1,3}}(?:[ .,]000){{1,2}}|\d{{1,7}})?[ ]?(?P<scale>{PER_SCALE})?(?![{LETTER}\d]))?[ ]?
         (?:(?:{ADJECTIVES})[ ]){{0,2}}(?P<noun>(?:{NOUN}|pc)(?![{LETTER}]))?""",
    re.VERBOSE,
)
PER_BEFORE = Lazy(
    rf"(?:(?:(?<!第)(?:每|[一1])(?P<n>\d{{2,6}})? ?(?P<scale>百|千|万)?|(?<![\w.])(?P<many>百|千|万))"
    rf"(?P<han>[张套份个人条组])(?:人脸|照片|图片|图"
    rf"|身份证)?"
    rf"|(?<![{LETTER}])(?:per|each|cada|за|por|одно|одна|प्रति|prati|ek|एक) (?P<noun>{NOUN})) ?[:=-]? ?\Z"
)
WHOLE_AFTER = Lazy(rf" (?:complet[oa]s?|enter[oa]s?|целиком|полностью|pura|poora){NOT_LETTER}")
PER_ALONE = Lazy(rf" ?(?:each|apiece|c/u|cada un[oa]){NOT_LETTER}")
PER_TIME = Lazy(
    rf" ?(?:/|per|an?|each|every|每|一|в|за|al|por|cada|包)? ?"
    rf"(?:day|week|month|year|hour|mo|min|天|周|月|年|小时|день|неделю|месяц|мес|час|mes|día|semana|año|gb|mb|гб|g"
    rf"|kg){NOT_LETTER}"
)
ANY_MARK = alternate_marks(CODE_OF)
NO_PRICE_BEFORE = Lazy(
    rf"(?:[\d.,_@#№=\\^%-]|\d[ ~]|\A- )\Z|\d ?(?:{ANY_MARK})? ?(?:-|~|/|{JOINS}) ?\Z|(?:{ANY_MARK}) ?/ ?\Z"
)
NO_PRICE_AFTER = Lazy(rf" ?(?:-|~|{JOINS}) ?(?:{alternate_marks(BOTH_SIDES)})? ?\d")
LETTERS = Lazy(rf"[{LETTER}%°]")
HUNDREDS = Lazy(r" \d{1,3}(?!\d)")
NO_COIN = re.compile("分(?=享|类|发|批)")  # to share, not a hundredth
DISCOUNT = Lazy(r"\d ?[%$€£¥]? ?-?off\b|折|满 ?\d+ ?减|立减|скидк|discount|descuento")
PRICE_LABEL = Lazy(r"(?:price|cost|цена|стоимость|precio|价格|售价|价|कीमत|दाम|daam|kimat)? ?[:=]? ?")
FROM_AFTER = re.compile(r" ?(?:起|及?以上|\+)")
JAPANESE = Lazy(r"[\u3040-\u30ff]|円|日元|jpy|yen")


class Mark(NamedTuple):
    start: int
    end: int
    word: str
    country: str | None = None  # MXN $1,500


DOUBT = Mark(-1, -1, "")


def read_prices(text: str) -> tuple[Money | None, ...]:
    """The prices of a text in their order; None for each number beside a currency that cannot be read for certain."""
    flat = flatten(text)
    if not MARK.search(flat):
        return ()
    numerals = scan_numerals(flat)
    owned = sorted(share_marks(flat, numerals).items())
    starts = [min([numerals[at].start, *(mark.start for mark in marks if mark is not DOUBT)]) for at, marks in owned]
    current = choose_current(flat, starts)
    if current is None:
        return (None,) * len(owned)
    if DISCOUNT.search(flat) and not all(is_current(flat, starts[at]) for at in current):
        return ()
    chosen = [owned[at] for at in current]
    if len(chosen) == 2 and EITHER_IS_WELCOME.search(flat):
        first = cut_first(flat, numerals, chosen)
        if first is not None:
            return read_prices(text[:first])
    return tuple(read_money(text, flat, numerals[at], marks) for at, marks in chosen)


def cut_first(flat: str, numerals: list[Numeral], owned: list[tuple[int, list[Mark]]]) -> int | None:
    """Where the first of two prices for one offer ends, if they are in two currencies: "100 USDT or 8500 rupees"."""
    (one, marks), (other, others) = owned
    end = max(numerals[one].end, *(mark.end for mark in marks))
    start = min(numerals[other].start, *(mark.start for mark in others))
    codes = [{CODE_OF.get(mark.word) for mark in each} for each in (marks, others)]
    apart = DOUBT not in marks + others and not codes[0] & codes[1]
    return end if apart and BETWEEN_TWO.fullmatch(flat, end, start) else None


def share_marks(flat: str, numerals: list[Numeral]) -> dict[int, list[Mark]]:
    """Which number each currency mark belongs to; a mark that could belong to two leaves both without an answer."""
    starts = {numeral.start: at for at, numeral in enumerate(numerals)}
    ends = {numeral.end: at for at, numeral in enumerate(numerals)}
    owned: dict[int, list[Mark]] = {}
    for match in MARK.finditer(flat[:LONGEST_TEXT]) if numerals else ():
        mark = Mark(match.start(), match.end(), match["mark"], match["country"])
        left, right = find_beside(flat, ends, mark.start, -1), find_beside(flat, starts, mark.end, 1)
        if (
            left is not None
            and mark.word in "毛角"
            and flat[numerals[left].start - 1 : numerals[left].start] in ("元", "块")
        ):
            continue  # the tail of 1元5角
        if mark.word not in BOTH_SIDES or (CODE_OF[mark.word] in COINS and mark.word.isalpha() and mark.end in starts):
            right = None  # "eth1" is a cable, "₿1" a coin
        if left is None or right is None:
            owners = [at for at in (left, right) if at is not None]
        else:
            owners = choose_owners(flat, numerals, left, right, mark)
        for at in owners:
            owned.setdefault(at, []).append(mark if len(owners) == 1 else DOUBT)
    return owned


def choose_owners(flat: str, numerals: list[Numeral], left: int, right: int, mark: Mark) -> list[int]:
    """ "120 USDT 5000 photos": the first. Else a space tells: "5000 $50", "30$ 50". Both where nothing tells."""
    if UNIT.match(flat, numerals[right].end):
        return [left]
    if len(numerals[right].digits) == 2 and mark.end < numerals[right].start:  # "35€ 99" may be 35.99
        return [left, right]
    gaps = (numerals[left].end < mark.start, mark.end < numerals[right].start)
    if gaps[0] == gaps[1] or mark.country:
        return [left, right]
    return [left] if gaps[1] else [right]


def find_beside(flat: str, places: dict[int, int], at: int, step: int) -> int | None:
    """The number that touches a place, or that a space parts from it."""
    space = flat[at - 1 : at] == " " if step < 0 else flat[at : at + 1] == " "
    return places.get(at, places.get(at + step) if space else None)


def read_money(text: str, flat: str, numeral: Numeral, marks: list[Mark]) -> Money | None:
    start = min(numeral.start, *(mark.start for mark in marks))
    end = max(numeral.end, *(mark.end for mark in marks))
    if start < 0 or is_no_price(flat, numeral, start, end):
        return None
    code = choose_currency({word for mark in marks for word in (mark.word, mark.country) if word}, flat)
    tail = read_tail(flat, numeral, end, marks)
    amount = read_amount(numeral, code)
    if code is None or tail is None or amount is None:
        return None
    amount, end = (amount + tail[0]) * worth_of(marks), tail[1]
    per = find_per(flat, start, end)
    if per is None or not 0 < amount <= HIGHEST_PRICE or (marks[0].word == "分" and per.of is None):
        return None
    bound = find_price_bound(flat, start, per.end)
    return Money(
        text=text[per.start : per.end],
        amount=amount,
        currency=code or None,
        per=per.of,
        per_count=per.number,
        bound=bound,
    )


def is_no_price(flat: str, numeral: Numeral, start: int, end: int) -> bool:
    """Negative, half of a range, part of another number, or the count of what follows."""
    window = max(0, start - WINDOW)
    if NO_PRICE_AFTER.match(flat, end) or PER_TIME.match(flat, end):
        return True
    before = NO_PRICE_BEFORE.search(flat, window, start)
    if start < numeral.start:  # a mark stands before it, so a number before that is another one: "2026 $80"
        unclear = before is not None and not re.fullmatch(r"\d[ ]", before[0])
    else:
        unclear = bool(before or LONGER.search(flat, window, start) or LETTERS.match(flat[start - 1 : start]))
    if unclear or (" " in numeral.digits and ORDINAL.search(flat, window, start)):
        return True
    return end == numeral.end and is_crowded(flat, numeral)


def is_crowded(flat: str, numeral: Numeral) -> bool:
    """Is it followed by what makes another number of it: "$7z", "$5 00", "¥10张", "$10 500 photos"?"""
    if LETTERS.match(flat, numeral.end) or (
        HUNDREDS.match(flat, numeral.end) and not has_unit_next(flat, numeral.end + 1)
    ):
        return True
    unit = UNIT.match(flat, numeral.end)
    return unit is not None and (" " in numeral.digits or unit.start("noun") == numeral.end)


def has_unit_next(flat: str, start: int) -> bool:
    numeral = NUMERAL.match(flat, start)
    return numeral is not None and UNIT.match(flat, numeral.end()) is not None


def choose_currency(words: set[str], flat: str) -> str | None:
    """The one currency that all marks of a number allow; "" for pesos of no country, None for a contradiction."""
    loose = {word for word in words if word in LOOSE}
    codes = {CODE_OF[word] for word in words - loose}
    if not codes:
        usual = {"$": "USD", "¥": "JPY" if JAPANESE.search(flat) else "CNY", "元": "CNY"}
        codes = {usual[word] for word in loose}
        return codes.pop() if len(codes) == 1 else None
    if len(codes - {""}) == 1:
        codes -= {""}
    if len(codes) > 1 or any(not codes <= LOOSE[word] for word in loose):
        return None
    return codes.pop()


def worth_of(marks: list[Mark]) -> Decimal:
    return next((WORTH[mark.word] for mark in marks if mark.word in WORTH), Decimal(1))


def read_amount(numeral: Numeral, code: str | None) -> Decimal | None:
    """A price has two decimals, a coin more; 1.200 is read only where it is the custom for a thousand."""
    if numeral.bound != Bound.EXACT:
        return None
    if numeral.scale_word == "l" and code != "INR":
        return None
    point = "," not in numeral.digits
    if numeral.scale_word:
        han = numeral.scale_word[-1] in HAN_UNITS
        return numeral.read(("point" if point else "group") if han else "doubt")
    if code in COINS:
        return numeral.read("point" if point else "doubt")
    return numeral.read("group" if not point or code in WHOLE else "doubt")


TAIL = Lazy(rf"(?P<digit>[\d{HAN}])(?P<coin>毛|角|(?=[一每][张套份个人条组])|(?!\d|[{HAN}]|[张套份个人条组名位]))")
TAIL_COUNT = Lazy(rf"(?:[一每1][张套份个人条组]|\d[\d.,]*(?:{SCALE})?(?=[ +]?[^\d]))")


def read_tail(flat: str, numeral: Numeral, end: int, marks: list[Mark]) -> tuple[Decimal, int] | None:
    """3块5 is 3.5, and so is 3元5角; 10元3000张 is 10 for 3000. Nothing where it cannot be told."""
    if not any(mark.word in ("元", "块", "毛", "角") and mark.end == end for mark in marks) or not re.match(
        rf"[\d{HAN}]", flat[end : end + 1]
    ):
        return Decimal(0), end
    tail = TAIL.match(flat, end)
    if tail and not re.match("[一1][张套份个人条组]", flat[end : end + 2]) and (tail["coin"] or flat[end - 1] != "元"):
        digit = read_han(tail["digit"])
        return None if digit is None or (numeral.digits and numeral.scale_word) else (Decimal(digit) / 10, tail.end())
    counted = NUMERAL.match(flat, end)
    unit = UNIT.match(flat, counted.end()) if counted else None
    single = flat[end - 1] != "元" and counted is not None and len(counted[0]) == 1 and counted[0] not in "一1"
    return (Decimal(0), end) if unit and not single else None


def worth_of_scale(word: str) -> int:
    return int(SCALE_OF.get(word) or WORD_OF.get(word) or 1)


class Per(NamedTuple):
    of: Counted | None
    number: int
    start: int
    end: int


def find_per(flat: str, start: int, end: int) -> Per | None:
    """What a price at `start` to `end` is for; None where it is for something unknown."""
    if before := PER_BEFORE.search(flat, max(0, start - WINDOW), start):
        count = int(before["n"] or 1) * worth_of_scale(before["scale"] or before["many"] or "")
        return Per(count_by(before["han"] or before["noun"]), count, before.start(), end)
    after = PER_AFTER.match(flat, end)
    if after is None:
        alone = PER_ALONE.match(flat, end)
        return Per(Counted.ITEM, 1, start, alone.end()) if alone else Per(None, 1, start, end)
    word, noun = after["word"], after["noun"]
    if noun and WHOLE_AFTER.match(flat, after.end()):
        return Per(None, 1, start, end)
    number, scale = re.sub(r"\D", "", after["n"] or ""), worth_of_scale(after["scale"] or "")
    if noun and (not number or word in ("/", "per")) and not (word.startswith(("за", "por")) and number):
        return Per(count_by(noun), int(number or 1) * scale, start, after.end())
    open_end = word == "/" or (word == "per" and not LETTERS.match(flat[after.end() :].strip()[:1]))
    if open_end and (scale > 1 or number in ("100", "1000", "10000")):
        return Per(
            Counted.ITEM, int(number or 1) * scale, start, after.end("scale") if after["scale"] else after.end("n")
        )
    if alone := PER_ALONE.match(flat, end):
        return Per(Counted.ITEM, 1, start, alone.end())
    return None if word in ("/", "per", "每", "every", "प्रति", "prati") else Per(None, 1, start, end)


def find_price_bound(flat: str, start: int, end: int) -> Bound:
    window = max(0, start - WINDOW)
    if qualified := find_qualifier(flat, start):
        return qualified[1]
    if FROM_AFTER.match(flat, end) or RANGE_START.search(flat, window, start):
        return Bound.AT_LEAST
    return Bound.EXACT


@functools.lru_cache(maxsize=1024)  # a listing asks for it twice, and a shop's prices are much alike
def find_money(text: str) -> Money | None:
    """The price of a text; None if there is none, more than one, or one that cannot be read."""
    prices = read_prices(text)
    if not prices:
        return find_unmarked(text)
    values = {price and (price.amount, price.currency, price.per, price.per_count) for price in prices}
    return prices[0] if len(values) == 1 else None


def find_unmarked(text: str) -> Money | None:
    """What is asked where no currency stands: nothing for what is given away, or "asking 250 for all"."""
    flat = flatten(text)
    if MARK.search(NO_COIN.sub("", flat)):
        return None
    if given := find_given(flat):
        start, end, amount = *given, Decimal(0)
    else:
        asked = find_asked(flat, scan_numerals(flat))
        value = asked and read_amount(asked[2], None)
        if asked is None or not value or value > HIGHEST_PRICE:
            return None
        start, end, amount = asked[0], asked[1], value
    return Money(text=text[start:end], amount=amount, currency=None, per=None, per_count=1, bound=Bound.EXACT)


def find_price(text: str) -> str:
    """The part of a text that is a price with its currency; nothing if there is none, or more than one."""
    money = find_money(text)
    return money.text if money else ""


def parse_price(text: str) -> tuple[Decimal | None, str | None]:
    """(amount, ISO 4217 code or a coin's) of a text that is a price; None where it does not say, or says two
    things."""
    if money := find_money(text):
        return money.amount, money.currency
    flat = flatten(text)
    if words := {match["mark"] for match in MARK.finditer(flat[:LONGEST_TEXT])}:
        return None, choose_currency(words, flat) or None
    numerals = scan_numerals(flat)
    if len(numerals) != 1 or not PRICE_LABEL.fullmatch(flat, 0, numerals[0].start):
        return None, None
    amount = None if flat[numerals[0].end :].strip(" .") else read_amount(numerals[0], None)
    return (amount if amount and amount <= HIGHEST_PRICE else None), None


FACES = (Counted.PHOTO, Counted.PERSON, Counted.DOCUMENT)  # each shows one; a set may hold any number


def price_of_one(money: Money | None, amount: Decimal | None, faces: int | None) -> Decimal | None:
    """What one face costs in the listing's own currency, to a millionth: as the seller says it ("0.2元/张"),
    else `amount`, the price of all, shared among the faces claimed. None where anything of it is not
    known or not fixed."""
    if money is not None and money.per is not None:
        faces = money.per_count if money.per in FACES else None
    if amount is None or not faces or faces < 0 or (money is not None and money.bound is not Bound.EXACT):
        return None
    if not (amount.is_finite() and 0 < amount <= HIGHEST_PRICE):
        return None
    with localcontext() as context:
        context.prec = 50
        return (amount / faces).quantize(Decimal("0.000001"), ROUND_HALF_EVEN)
