"""In comes a plain text, out come its numbers in their order, in digits or words: where each stands and its value."""

import re
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Literal, NamedTuple

from crawler.numbers.text import LETTER, LONGEST_TEXT, MOST_NUMERALS, NOT_LETTER, alternate

SCALES = {
    100: "百 hundred sau सौ",
    1000: "千 k к thousand thsd тыс. тыс тысяч тысячи тысяча mil hazar hazaar hajar हजार हज़ार हज़ार",
    10_000: "万 w",
    100_000: "十万 lakh lakhs lac lacs लाख",
    10**6: "百万 m mn mln million millions mio млн. млн миллион миллиона миллионов кк millón millon millones",
    10**7: "千万 crore crores cr करोड़ करोड़",
    10**8: "亿",
    10**9: "billion млрд миллиард миллиарда",
}  # fmt: skip
SCALE_OF = {word: Decimal(scale) for scale, words in SCALES.items() for word in words.split()}
WORDS = {
    1: "one a an un una ek एक один одна", 2: "two dos две два двух do दो", 3: "three tres три трех teen तीन",
    4: "four cuatro четыре chaar char चार", 5: "five cinco пять пяти paanch panch पांच पाँच", 6: "six seis шесть chhe छह",
    7: "seven siete семь saat सात", 8: "eight ocho восемь aath आठ", 9: "nine nueve девять nau नौ",
    10: "ten diez десять десяти das दस", 11: "eleven once одиннадцать", 12: "twelve doce двенадцать barah बारह",
    13: "thirteen trece тринадцать", 14: "fourteen catorce четырнадцать",
    15: "fifteen quince пятнадцать pandrah पंद्रह", 16: "sixteen dieciséis dieciseis шестнадцать",
    17: "seventeen diecisiete семнадцать", 18: "eighteen dieciocho восемнадцать",
    19: "nineteen diecinueve девятнадцать",
    20: "twenty veinte двадцать bees बीस", 21: "veintiuno veintiuna veintiún veintiun", 22: "veintidós veintidos",
    23: "veintitrés veintitres", 24: "veinticuatro", 25: "pachees veinticinco पच्चीस", 26: "veintiséis veintiseis",
    27: "veintisiete", 28: "veintiocho", 29: "veintinueve", 30: "thirty treinta тридцать tees तीस",
    40: "forty cuarenta сорок chalis",
    50: "fifty cincuenta пятьдесят pachas पचास", 60: "sixty sesenta шестьдесят", 70: "seventy setenta семьдесят",
    80: "eighty ochenta восемьдесят", 90: "ninety noventa девяносто", 100: "cien ciento сто",
    200: "doscientos doscientas двести", 300: "trescientos trescientas триста",
    400: "cuatrocientos cuatrocientas четыреста",
    500: "quinientos quinientas пятьсот", 600: "seiscientos seiscientas шестьсот",
    700: "setecientos setecientas семьсот", 800: "ochocientos ochocientas восемьсот",
    900: "novecientos novecientas девятьсот",
}  # fmt: skip
WORD_OF = {word: Decimal(value) for value, words in WORDS.items() for word in words.split()}
WORD_OF |= dict.fromkeys(("half a", "a half", "medio", "media", "пол", "половиной", "aadha", "आधा"), Decimal("0.5"))
WORD_OF |= dict.fromkeys(("a quarter of a", "quarter of a", "a quarter", "quarter", "четверть"), Decimal("0.25"))
WORD_OF |= dict.fromkeys(("полтора", "полторы", "полутора", "dedh", "derh", "डेढ़", "डेढ़"), Decimal("1.5"))
WORD_OF |= dict.fromkeys(("dhai", "dhaai", "adhai", "ढाई"), Decimal("2.5"))
SHIFTS = {
    "saadhe sadhe saade sade साढ़े साढ़े": "0.5",
    "sawa sava सवा": "0.25",
    "paune pone पौने": "-0.25",
}  # added to what follows
SHIFT_OF = {word: Decimal(shift) for words, shift in SHIFTS.items() for word in words.split()}
ALONE = {"mil": 1000, "тысяча": 1000, "полмиллиона": 500_000, "миллион": 10**6}  # a number without another word
ALONE |= {word: int(value) for word, value in WORD_OF.items() if value >= 100}
HAN_DIGITS = dict(zip("零一二三四五六七八九两俩仨", (*range(10), 2, 2, 3), strict=True))
HAN_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
HAN = "".join((*HAN_DIGITS, *HAN_UNITS))
LONE_AFTER = re.compile(
    "[^\u4e00-\u9fff\\d.]|[上近过超约达逾破成出售有共]"
)  # before 万张: what leaves it a number of its own
MIL_AFTER = re.compile(  # "dies mil" is a misspelt ten thousand
    rf"(?<![{LETTER}])(?:de|casi|unos|unas|los|las|por|con|vendo|tengo|hay|son|solo|sólo|hasta|pack|lote|total) \Z"
    rf"|[^{LETTER} ] ?\Z|\A ?\Z"
)
SHIFT = alternate(list(SHIFT_OF))
WORD = alternate(list(WORD_OF))
SCALE = alternate(list(SCALE_OF))
INNER = alternate([word for word in WORD_OF if word not in ("a", "an")])  # "five thousand a day" is no 5001
NUMERAL = re.compile(
    rf"""(?P<mixed>(?<![\d.,])\d{{1,4}}+[多余来][百千万亿]{{1,2}}|(?<![\d.,])\d{{1,4}}+[百千万亿]\d{{1,4}}+(?:[百千万]\d{{0,4}}+)*+(?![\d.,元块毛角u¥$€]))
       | (?P<digits>(?<!\d)(?<!\d[.,'])(?:\d{{1,3}}(?:[ ]\d{{3}})++(?!\d)(?:[.,]\d++)?|\d++(?:[.,']\d++)*+))
         (?:[ ]?(?P<scale>{SCALE}){NOT_LETTER})?
       | (?P<han>[几数{HAN}](?:[{HAN}几多余]|来(?=[百千万亿])){{0,15}}+)
       | (?<![{LETTER}\d])
         (?P<words>(?:{SHIFT}|{WORD})(?:(?:[ -](?:(?:y|and|с)[ ])?|(?<=пол))(?:{INNER}|{SCALE}){NOT_LETTER}){{1,9}})
       | (?<![{LETTER}\d])(?P<alone>{alternate(list(ALONE))}){NOT_LETTER}""",
    re.VERBOSE,
)
GROUPED = re.compile(r"[1-9]\d{0,2}(?:(?P<mark>[., '])\d{3})(?:(?P=mark)\d{3})*|[1-9]\d?(?:,\d{2})+,\d{3}")
HALF = Decimal("0.5")
THOUSANDS = frozenset(("thousand", "mil", "тысяч", "тысячи", "тысяча", "hazaar", "hazar", "hajar", "हजार"))
FIRST = re.compile(r"(?:\A|[.!|;(\n]) ?\Z")
Three = Literal["group", "point", "doubt"]  # what one dot or comma before exactly three digits means


class Bound(StrEnum):
    EXACT = "exact"
    ABOUT = "about"
    AT_LEAST = "at_least"
    AT_MOST = "at_most"


class Numeral(NamedTuple):
    """A number in a text. `digits` is as written, to be read by its use; otherwise `low` and `high` are its value."""

    start: int
    end: int
    digits: str
    scale: Decimal
    scale_word: str
    low: Decimal | None = None
    high: Decimal | None = None
    bound: Bound = Bound.EXACT

    def read(self, three: Three) -> Decimal | None:
        value = read_digits(self.digits, three) if self.digits else self.low
        return None if value is None or self.low != self.high else value * self.scale


def scan_numerals(flat: str) -> list[Numeral]:
    """The numbers of a flattened text in their order; none where it holds too many."""
    found: list[Numeral] = []
    for match in NUMERAL.finditer(flat[:LONGEST_TEXT]):
        if len(found) == MOST_NUMERALS:
            return []
        numeral = read_numeral(match)
        if numeral is None:
            continue
        if found and (joined := join_numerals(flat, found[-1], numeral)):
            found[-1] = joined
        else:
            found.append(numeral)
    return found


def join_numerals(flat: str, large: Numeral, small: Numeral) -> Numeral | None:
    """ "1 lakh 20 hazaar" is one number in two parts: each has its scale, and the second is less than the first's.
    So is "3 mil 500" where nothing stands before it: after "price" the 500 may be of something else."""
    if flat[large.end : small.start] != " " or not large.scale_word:
        return None
    hundreds = large.scale_word in THOUSANDS and re.fullmatch(r"[1-9]\d\d", small.digits)
    if not small.scale_word and not (hundreds and FIRST.search(flat, 0, large.start)):
        return None
    first, last = large.read("doubt"), small.read("doubt")
    if first is None or last is None or last >= SCALE_OF.get(large.scale_word, 0):
        return None
    return Numeral(large.start, small.end, "", Decimal(1), small.scale_word, first + last, first + last)


def read_numeral(match: re.Match[str]) -> Numeral | None:
    start, end = match.span()
    if match["digits"]:
        word = match["scale"] or ""
        return Numeral(start, end, match["digits"], SCALE_OF.get(word, Decimal(1)), word)
    if match["words"]:
        parts = re.findall(f"(?:{SHIFT}|{WORD}|{SCALE}){NOT_LETTER}|пол", match["words"])
        value = read_words(parts)
        return None if value is None else Numeral(start, end, "", Decimal(1), parts[-1], value, value)
    if match["alone"]:
        if match["alone"] == "mil" and not MIL_AFTER.search(match.string, max(0, start - 12), start):
            return None
        value = Decimal(ALONE[match["alone"]])
        return Numeral(start, end, "", Decimal(1), match["alone"], value, value)
    return read_vague_han(match["mixed"] or match["han"], start, match.string[max(0, start - 1) : start])


def read_words(parts: list[str]) -> Decimal | None:
    """ "one hundred and twenty thousand", "un millón y medio", "saadhe teen lakh"; a small number needs a scale."""
    total, scale = Decimal(0), Decimal(0)
    shift = SHIFT_OF.get(parts[0], Decimal(0))
    group: list[Decimal] = [] if parts[0] not in SHIFT_OF or parts[1] not in SCALE_OF else [Decimal(1)]
    for part in parts[parts[0] in SHIFT_OF :]:
        if part in WORD_OF:
            group.append(WORD_OF[part])
            continue
        value, size = add_words(group), SCALE_OF[part]
        if value is None or (value >= 100 if size == 100 else 0 < scale <= size):
            return None
        value, shift = (value + shift) * size, Decimal(0)
        total, scale, group = (total, scale, [value]) if size == 100 else (total + value, size, [])
    rest = add_words(group) if group else Decimal(0)
    if rest is None or (rest < 100 and not SCALE_OF.keys() & parts) or (scale and rest >= scale):
        return None
    return total + (scale / 2 if rest == HALF else rest)


def add_words(values: list[Decimal]) -> Decimal | None:
    """ "twenty five" is 25; "five twenty" is nothing, and so is no word."""
    pairs = pairwise(values)
    well = all(
        (after < 10 <= before < 100 and before % 10 == 0) or before >= 100 > after or (after == HALF and before < 100)
        for before, after in pairs
    )
    return sum(values, Decimal(0)) if values and well else None


def read_vague_han(written: str, start: int, before: str) -> Numeral | None:
    """十七万 is 170,000; 三万多 is at least 30,000; 十来万 is about 100,000; 数万, 几万 and 十几万 are ranges."""
    more = written.endswith(("多", "余")) or re.search(r"[多余][百千万亿]+$", written)
    plain = re.sub("[多余来]", "", written)
    few = re.fullmatch(rf"([{HAN}]*)([几数])([{HAN}]*)", plain)
    if few:  # 几 is one to nine of what follows it
        low, high = (read_han(few[1] + digit + few[3]) for digit in "一九")
        one = SCALE_OF.get(few[3][-1:] or "个", Decimal(1))
        high = None if high is None else high + int(one)
    else:
        low = high = read_han(plain)
    if low is None or high is None:
        return None
    alone = plain in ("百", "千", "万", "亿")
    if alone and before and not LONE_AFTER.fullmatch(before):
        return None
    bound = Bound.AT_LEAST if more else Bound.ABOUT if few or alone or "来" in written else Bound.EXACT
    return Numeral(start, start + len(written), "", Decimal(1), "han", Decimal(low), Decimal(high), bound)


def read_han(written: str) -> int | None:
    """Chinese numerals, mixed with digits too: 三千五百, 1万5千, 一万二 (12,000). None where the units do not fall."""
    total = section = 0
    digit: int | None = None
    last = 10**9
    for part in re.findall(r"\d+|.", written):
        if part.isdigit() or part in HAN_DIGITS:
            if digit:  # 二三千: two or three thousand
                return None
            digit = int(part) if part.isdigit() else HAN_DIGITS[part]
            continue
        unit = HAN_UNITS.get(part, 0)
        if unit >= 10_000 and (section or digit or not total):
            total += (section + (digit or 0) or 1) * unit
            section, last = 0, unit
        elif 0 < unit < min(last, 10_000) or last >= 10_000 > unit > 0:
            section, last = section + (1 if digit is None else digit) * unit, unit
        else:
            return None
        digit = None
    if digit is None:
        return total + section
    short = last < 10**9 and last > 10 and "零" not in written and digit < 10
    return total + section + digit * (last // 10 if short else 1)


def read_digits(digits: str, three: Three) -> Decimal | None:
    """The value of digits with dots, commas, spaces and apostrophes; None where it could be two values."""
    if len(digits) > 30:
        return None
    if digits.isdigit():
        return Decimal(digits) if digits == "0" or digits[0] != "0" else None
    if GROUPED.fullmatch(digits):
        marks = re.sub(r"\d", "", digits)
        if len(marks) > 1 or marks in " '" or three == "group":
            return Decimal(re.sub(r"\D", "", digits))
        return Decimal(digits.replace(",", ".")) if three == "point" else None
    head, point, tail = re.fullmatch(r"(.*)([., '])(\d+)", digits, re.DOTALL).groups()  # type: ignore[union-attr]
    well = (
        point in ".,"
        and point not in head
        and (head == "0" or (head.isdigit() and head[0] != "0") or GROUPED.fullmatch(head))
    )
    return Decimal(f"{re.sub('[^0-9]', '', head)}.{tail}") if well else None
