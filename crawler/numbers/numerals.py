"""In comes a plain text, out come its numbers in their order, in digits or words: where each stands and its value."""

import math
import re
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Literal, NamedTuple

from crawler.numbers.text import (
    BOTH_SIDES,
    CODE_OF,
    LETTER,
    LONGEST_TEXT,
    MOST_NUMERALS,
    NOT_LETTER,
    Lazy,
    alternate,
    alternate_marks,
)
from crawler.numbers.words import ALONE, ARTICLES, COUPLE_OF, FALSE_FRIENDS, SCALE_OF, SHIFT_OF, TIGHT, WORD_OF

HAN_DIGITS = dict(zip("零一二三四五六七八九两俩仨", (*range(10), 2, 2, 3), strict=True))
HAN_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
HAN = "".join((*HAN_DIGITS, *HAN_UNITS))
TWO_DIGITS = re.compile(  # 七八千 is seven to eight thousand, 十七八万 170 to 180 thousand
    "(?P<head>[十百千万亿一二三四五六七八九两]*[十百千万亿]|)(?P<low>[一二两三四五六七八])(?P<high>[二两三四五六七八九])(?P<tail>[十百千万亿]+)"
)
LONE_AFTER = re.compile(
    "[^\u4e00-\u9fff\\d.]|[上近过超约达逾破成出售有共]"
)  # before 万张: what leaves it a number of its own
MIL_AFTER = re.compile(  # "dies mil" is a misspelt ten thousand
    rf"(?<![{LETTER}])(?:de|casi|unos|unas|los|las|por|con|vendo|tengo|hay|son|solo|sólo|hasta|pack|lote|total) \Z"
    rf"|[^{LETTER} ] ?\Z|\A ?\Z"
)
SHIFT = alternate(SHIFT_OF)
WORD = alternate(WORD_OF)
SCALE = alternate([word for word in SCALE_OF if word not in TIGHT])
COUPLE = alternate(COUPLE_OF)
INNER = alternate([word for word in WORD_OF if word not in ("a", "an")])  # "five thousand a day" is no 5001
EITHER = "or|to|o|a|или|до|ya|se|या|से"  # "two or three thousand"
SPOKEN_MARK = alternate_marks([word for word in CODE_OF if len(word) > 3 and word not in BOTH_SIDES])
NUMERAL = Lazy(
    rf"""(?P<mixed>(?<![\d.,])\d{{1,4}}+[多余来][百千万亿]{{1,2}}
                  |(?<![\d.,])\d{{1,4}}+[百千万亿]\d{{1,4}}+(?:[百千万]\d{{0,4}}+)*+(?![\d元块毛角u¥$€]|[.,]\d))
       | (?P<digits>(?<!\d)(?<!\d[.,'])(?:\d{{1,3}}(?:[ ]\d{{3}})++(?!\d)(?:[.,]\d++)?|\d++(?:[.,']\d++)*+))
         (?:[ ]?(?P<scale>{SCALE}){NOT_LETTER}|(?P<tight>l|т\.(?![ ]?[рp])|т){NOT_LETTER}(?!\.[ ]?[рp]))?
       | (?P<han>[几数{HAN}](?:[{HAN}几多余]|来(?=[百千万亿])|(?<=[百千万])把(?=[张人名个套份条])){{0,15}}+)
       | (?<![{LETTER}\d])(?:(?P<few>{COUPLE}|(?:{WORD})(?:[ -]|[ ](?:{EITHER})[ ])(?:{INNER}))[ ]
           (?P<times>(?:{SCALE}){NOT_LETTER}(?:[ ](?:{SCALE}){NOT_LETTER})?))
         (?![ -](?:(?:y|and|с)[ ])?(?:{INNER}){NOT_LETTER})
       | (?<![{LETTER}\d])
         (?P<words>(?:{SHIFT}|{WORD})(?:(?:[ -](?:(?:y|and|с)[ ])?|(?<=пол))(?:{INNER}|{SCALE}){NOT_LETTER}){{1,9}})
       | (?<![{LETTER}\d])(?P<small>{INNER})(?=[ ]{SPOKEN_MARK})
       | (?<![{LETTER}\d])(?P<alone>{alternate(ALONE)}){NOT_LETTER}""",
    re.VERBOSE,
)
PART = Lazy(f"(?:{SHIFT}|{WORD}|{SCALE}){NOT_LETTER}|пол")
PAIR = Lazy(f"(?P<low>{WORD})(?P<between>[ -]|[ ](?:{EITHER})[ ])(?P<high>{INNER})")
SPOKEN = Lazy(f" {SPOKEN_MARK}")
THEIR_MARK = re.compile(r" (?:rup|pais|peso|dólar|sol)")
MILLIONS = re.compile(r"[1-9]\d{0,2}'\d{3}[.,]\d{3}")  # so in Colombia
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
        word = match["scale"] or match["tight"] or ""
        return Numeral(start, end, match["digits"], SCALE_OF.get(word, Decimal(1)), word)
    if match["few"]:
        return read_few(match)
    if match["words"]:
        parts = [part[0] for part in PART.finditer(match["words"])]
        value = read_words(parts, alone=SPOKEN.match(match.string, end) is not None)
        if value is None or (parts[0] in ("saath", "sath") and match.string.endswith("ke ", 0, start)):  # with
            return None
        return Numeral(start, end, "", Decimal(1), parts[-1], value, value)
    if match["small"]:
        if match["small"] in FALSE_FRIENDS and not THEIR_MARK.match(match.string, end):
            return None
        value = WORD_OF[match["small"]]
        return Numeral(start, end, "", Decimal(1), match["small"], value, value) if value >= 1 else None
    if match["alone"]:
        if match["alone"] == "mil" and not MIL_AFTER.search(match.string, max(0, start - 12), start):
            return None
        value = Decimal(ALONE[match["alone"]])
        return Numeral(start, end, "", Decimal(1), match["alone"], value, value)
    return read_vague_han(match["mixed"] or match["han"], start, match.string[max(0, start - 1) : start])


def read_few(match: re.Match[str]) -> Numeral | None:
    """ "a couple of thousand" is about 2000; "two or three thousand" and "do teen lakh" are ranges: where nothing says
    "or", the two numbers are neighbours."""
    scales = [SCALE_OF[part[0]] for part in PART.finditer(match["times"])]
    scale = math.prod(scales)
    if len(scales) == 2 and not scales[0] < scales[1]:
        return None
    if match["few"] in COUPLE_OF:
        low = high = COUPLE_OF[match["few"]]
    else:
        pair = PAIR.fullmatch(match["few"])
        if pair is None:
            return None
        low, high = WORD_OF[pair["low"]], WORD_OF[pair["high"]]
        either = len(pair["between"]) > 1
        beside = high - low == (10 if low >= 20 else 1) and (low < 20 or low % 10 == 0)
        whole = pair["low"] not in ARTICLES and low % 1 == high % 1 == 0
        if not (whole and low < high < 100 and (beside or either)):
            return None if either else read_plain(match)
    return Numeral(*match.span(), "", Decimal(1), match["times"], low * scale, high * scale, Bound.ABOUT)


def read_plain(match: re.Match[str]) -> Numeral | None:
    """ "twenty five thousand" begins as "two three thousand" does."""
    parts = [part[0] for part in PART.finditer(match[0])]
    value = read_words(parts)
    return None if value is None else Numeral(*match.span(), "", Decimal(1), parts[-1], value, value)


def read_words(parts: list[str], *, alone: bool = False) -> Decimal | None:
    """ "one hundred and twenty thousand", "un millón y medio", "saadhe teen lakh"; a small number needs a scale, unless
    it may stand alone."""
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
    if rest is None or (rest < 100 and not alone and not SCALE_OF.keys() & parts) or (scale and rest >= scale):
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
    plain = re.sub("[多余来把]", "", written)
    if pair := TWO_DIGITS.fullmatch(plain):
        ends = [read_han(pair["head"] + digit + pair["tail"]) for digit in (pair["low"], pair["high"])]
        low, high = ends
        neighbours = HAN_DIGITS[pair["high"]] - HAN_DIGITS[pair["low"]] == 1 or pair["low"] + pair["high"] == "三五"
        if low is None or high is None or not neighbours or more:
            return None
        return Numeral(start, start + len(written), "", Decimal(1), "han", Decimal(low), Decimal(high), Bound.ABOUT)
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
    bound = Bound.AT_LEAST if more else Bound.ABOUT if few or alone or re.search("[来把]", written) else Bound.EXACT
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
    if MILLIONS.fullmatch(digits) and three == "group":
        return Decimal(re.sub(r"\D", "", digits))
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
