"""In comes a text, out comes it in plain letters, one character for one, so that places in it are places in the text.

Also what counts and prices both look for in it: the marks of currencies.
"""

import functools
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping

LONGEST_TEXT, MOST_NUMERALS = 10_000, 120  # beyond them a text is a catalogue or a trap: nothing is read
WINDOW = 32  # characters before a number that may change its meaning

LETTER = "a-z\u00b5-\u024f\u0400-\u052f\u0900-\u0965\u0970-\u097f"  # Han are not in it: they stand beside numbers
OVERRIDES = frozenset("\u202d\u202e\u2066\u2067\u2068")  # what is shown is not what is written
SAME = str.maketrans("￥張萬億兩個條臉圓號壹贰叁肆伍陆柒捌玖拾佰仟〇’ʼ‘`´–—―−‐‑～〜ё",
                     "¥张万亿两个条脸元号一二三四五六七八九十百千零'''''------~~е")  # fmt: skip
NOT_LETTER = f"(?![{LETTER}])"


class _Plain(dict[int, str]):
    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        if category == "Nd":
            char = str(unicodedata.digit(char))
        elif category == "Zs" or char in "\t\u200b\u2060\ufeff":
            char = " "
        elif 0xFF00 < code < 0xFF5F:
            char = chr(code - 0xFEE0)
        lower = char.lower()
        self[code] = lower if len(lower) == 1 else char
        return self[code]


_PLAIN = _Plain()


@functools.lru_cache(maxsize=16)  # counts, prices and kinds all look at the same texts
def flatten(text: str) -> str:
    """`text`, character for character, in lower case with ASCII digits and plain spaces, dashes and quotes."""
    return "" if OVERRIDES.intersection(text) else text.translate(SAME).translate(_PLAIN)


class Words(dict[str, "Words"]):
    """A tree of words by their letters: as a pattern it is a third as long as their list, and as much quicker."""

    end: str | None = None

    def add(self, word: str, end: str) -> None:
        node = self
        for letter in word:
            node = node.setdefault(letter, Words())
        node.end = end

    def write(self) -> str:
        """The longest word is tried first."""
        each = [("[ -]?" if at == "_" else re.escape(at)) + node.write() for at, node in self.items()]
        each += [] if self.end is None else [self.end]
        return each[0] if len(each) == 1 else f"(?:{'|'.join(each)})" if each else ""


def alternate(words: str | Iterable[str], ends: Mapping[str, str] | None = None) -> str:
    """A regular expression for any of some words, the longest first; `_` in a word is a space or a hyphen or nothing.
    `ends`: what must follow some of them."""
    tree = Words()
    for word in words.split() if isinstance(words, str) else words:
        tree.add(word, (ends or {}).get(word, ""))
    return tree.write()


class Lazy:
    """A regular expression that is compiled when it is first used: together the large ones take a third of a second,
    which no command should wait for that reads no number."""

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self.pattern, self.flags = pattern, flags

    @functools.cached_property
    def compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, self.flags)

    def match(self, text: str, start: int = 0, end: int = sys.maxsize) -> re.Match[str] | None:
        return self.compiled.match(text, start, end)

    def fullmatch(self, text: str, start: int = 0, end: int = sys.maxsize) -> re.Match[str] | None:
        return self.compiled.fullmatch(text, start, end)

    def search(self, text: str, start: int = 0, end: int = sys.maxsize) -> re.Match[str] | None:
        return self.compiled.search(text, start, end)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        return self.compiled.finditer(text)


CURRENCIES = {  # first those that may stand on both sides of the number, then those that only follow it
    "CNY": ("¥ rmb cny 人民币", "元 块钱 块 yuan юаней юань"), "JPY": ("jpy", "円 日元 日圆 日币 yen"),
    "USD": ("us$ $ usd 美元 美金", """dollars dollar bucks buck 美刀 刀 dólares dolares доллар доллара долларов баксов
            бакса"""),
    "EUR": ("€ eur 欧元", "euro euros евро"), "GBP": ("£ gbp", "pounds quid 英镑 фунтов"),
    "RUB": ("₽ rub", "руб. руб рублей рубля р. р rubles roubles 卢布"),
    "INR": ("₹ inr rs. rs", "rupees rupee rupaye rupay rupya रुपये रुपए रु रुपया"),
    "UAH": ("₴ uah", "грн гривен"), "KZT": ("₸ kzt", "тенге"), "BRL": ("r$ brl", "reais"),
    "MXN": ("mxn mx$", "pesos_mexicanos mexican_pesos"),
    "ARS": ("ars ar$", "pesos_argentinos"),
    "COP": ("cop", "pesos_colombianos"), "CLP": ("clp", "pesos_chilenos"), "PEN": ("s/. s/", "soles"),
    "HKD": ("hk$ hkd 港币 港元", ""), "TWD": ("nt$ twd 台币 新台币", ""),
    "CAD": ("c$ ca$ cad", ""),
    "AUD": ("a$ au$ aud", ""), "SGD": ("s$ sgd", ""),
    "USDT": ("usdt", "u 泰达币 tether"), "USDC": ("usdc", ""), "BTC": ("₿ btc xbt", "比特币 bitcoin bitcoins"),
    "ETH": ("eth", "ethereum 以太坊"), "XMR": ("xmr", "monero 门罗币"), "LTC": ("ltc", ""), "TRX": ("trx", ""),
    "TON": ("ton", ""),
    "": ("", "pesos peso"),  # of which country?
}  # fmt: skip
FRACTIONS = {
    "CNY": {"0.1": "毛 毛钱 角", "0.01": "分 分钱"},
    "USD": {"0.01": "cents cent ¢ центов"}, "INR": {"0.01": "paise paisa"},
    "EUR": {"0.01": "céntimos euro_cents евроцентов"},
    "RUB": {"0.01": "коп коп. копеек", "1000": "т.р. т.р тр тыр косарь косаря косарей"},
}  # fmt: skip
CODE_OF = {word.replace("_", " "): code for code, both in CURRENCIES.items() for side in both for word in side.split()}
CODE_OF |= {mark: code for code, each in FRACTIONS.items() for marks in each.values() for mark in marks.split()}
BOTH_SIDES = frozenset(mark for before, _after in CURRENCIES.values() for mark in before.split())


def alternate_marks(marks: Collection[str]) -> str:
    """Currency marks, the longest first; one that begins or ends with a letter is a word of its own."""
    letter = re.compile(f"[{LETTER}]")
    signs: list[str] = []
    words: list[str] = []
    for mark in sorted(marks, key=len, reverse=True):
        end = rf"{NOT_LETTER}(?!\.[a-z])" if letter.match(mark[-1]) or mark[-1] == "/" else ""
        (words if letter.match(mark) else signs).append(re.escape(mark) + end)
    first = re.escape("".join(sorted({mark[0] for mark in marks})))  # looked at first, because it is quick
    each = [f"(?<![{LETTER}])(?:{'|'.join(words)})"] if words else []
    return f"(?=[{first}])(?:{'|'.join(each + signs)})"


MARK_BEFORE = Lazy(rf"(?:{alternate_marks(BOTH_SIDES)})[ .:]?\Z")
MARK_AFTER = Lazy(rf" ?(?:{alternate_marks(CODE_OF)})")
