"""Numbers as sellers write them: in comes a text, out come claims of faces and people, and prices; None in doubt.

A number is a claim only beside a word for photos, people or sets, and a price only beside a currency. Nothing here
raises for what a text contains, and every value keeps the piece of the text it came from.
"""

import datetime as dt
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from enum import StrEnum
from itertools import pairwise
from typing import Literal, NamedTuple

LARGEST_COUNT = 10**10  # more than there are people
HIGHEST_PRICE = Decimal(10) ** 12
LONGEST_TEXT, MOST_NUMERALS = 10_000, 120  # beyond them a text is a catalogue or a trap: nothing is read
WINDOW = 32  # characters before a number that may change its meaning


class Counted(StrEnum):
    PHOTO = "photo"  # a photo, face or selfie
    PERSON = "person"
    DOCUMENT = "document"
    SET = "set"
    ITEM = "item"  # a piece of something that is not named
    PHOTO_PER_PERSON = "photo_per_person"
    PHOTO_PER_SET = "photo_per_set"


class Bound(StrEnum):
    EXACT = "exact"
    ABOUT = "about"
    AT_LEAST = "at_least"
    AT_MOST = "at_most"


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Of "500-800 photos" low is 500, high 800; equal for one number. `bound` is what the seller says of it."""

    text: str
    low: int
    high: int
    bound: Bound
    of: Counted

    @property
    def number(self) -> int | None:
        return self.low if self.low == self.high else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Money:
    """A price, "0.2元/张": 0.2 CNY for each photo. `per` is None for a price of all, currency None where unsure."""

    text: str
    amount: Decimal
    currency: str | None
    per: Counted | None
    per_count: int  # "$10 per 1000 photos": 1000
    bound: Bound


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """What one unit of each currency is worth in the reference currency, on a day. What is not listed is not known."""

    date: dt.date
    reference: str = "USD"
    rates: Mapping[str, Decimal]


# ---- what is written: one character for one, so that places in it are places in the text

LETTER = "a-z\u00b5-\u024f\u0400-\u052f\u0900-\u0965\u0970-\u097f"  # Han are not in it: they stand beside numbers
OVERRIDES = frozenset("\u202d\u202e\u2066\u2067\u2068")  # what is shown is not what is written
SAME = str.maketrans("￥張萬億兩個條臉圓號壹贰叁肆伍陆柒捌玖拾佰仟〇’ʼ‘`´–—―−‐‑～〜ё",
                     "¥张万亿两个条脸元号一二三四五六七八九十百千零'''''------~~е")  # fmt: skip


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


def flatten(text: str) -> str:
    """`text`, character for character, in lower case with ASCII digits and plain spaces, dashes and quotes."""
    return "" if OVERRIDES.intersection(text) else text.translate(SAME).translate(_PLAIN)


def alternate(words: str | list[str]) -> str:
    """A regular expression for any of some words, the longest first; `_` in a word is a space or a hyphen."""
    each = words.split() if isinstance(words, str) else words
    return "|".join(re.escape(word).replace("_", "[ -]?") for word in sorted(each, key=len, reverse=True))


# ---- numerals

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
    15: "fifteen quince пятнадцать pandrah पंद्रह", 20: "twenty veinte двадцать bees बीस",
    25: "pachees veinticinco पच्चीस", 30: "thirty treinta тридцать tees तीस", 40: "forty cuarenta сорок chalis",
    50: "fifty cincuenta пятьдесят pachas पचास", 60: "sixty sesenta шестьдесят", 70: "seventy setenta семьдесят",
    80: "eighty ochenta восемьдесят", 90: "ninety noventa девяносто", 100: "cien ciento сто",
    200: "doscientos doscientas двести", 300: "trescientos trescientas триста",
    400: "cuatrocientos cuatrocientas четыреста",
    500: "quinientos quinientas пятьсот", 600: "seiscientos шестьсот", 700: "setecientos семьсот",
    800: "ochocientos восемьсот", 900: "novecientos девятьсот",
}  # fmt: skip
WORD_OF = {word: Decimal(value) for value, words in WORDS.items() for word in words.split()}
WORD_OF |= dict.fromkeys(("half a", "medio", "media", "пол", "aadha", "आधा"), Decimal("0.5"))
WORD_OF |= dict.fromkeys(("полтора", "полторы", "полутора", "dedh", "डेढ़", "डेढ़"), Decimal("1.5"))
WORD_OF |= dict.fromkeys(("dhai", "ढाई"), Decimal("2.5"))
ALONE = {"mil": 1000, "тысяча": 1000, "полмиллиона": 500_000, "миллион": 10**6}  # a number without another word
ALONE |= {word: int(value) for word, value in WORD_OF.items() if value >= 100}
HAN_DIGITS = dict(zip("零一二三四五六七八九两", (*range(10), 2), strict=True))
HAN_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
HAN = "".join((*HAN_DIGITS, *HAN_UNITS))
NOT_LETTER = f"(?![{LETTER}])"
WORD = alternate(list(WORD_OF))
SCALE = alternate(list(SCALE_OF))
NUMERAL = re.compile(
    rf"""(?P<mixed>(?<![\d.,])\d{{1,4}}+[百千万亿]\d{{1,4}}+(?:[百千万]\d{{0,4}}+)*+(?![\d.,元块毛角u¥$€]))
       | (?P<digits>(?<!\d)(?<!\d[.,'])(?:\d{{1,3}}(?:[ ]\d{{3}})++(?!\d)(?:[.,]\d++)?|\d++(?:[.,']\d++)*+))
         (?:[ ]?(?P<scale>{SCALE}){NOT_LETTER})?
       | (?P<han>[几数{HAN}](?:(?![个])[{HAN}几多余]|余){{0,15}}+)
       | (?<![{LETTER}\d])(?P<words>(?:{WORD})(?:(?:[ -]|[ ]y[ ])(?:{WORD})){{0,2}})
         (?:[ ]|(?<=пол))(?P<word_scale>{SCALE})(?P<more_scale>[ ]thousand)?{NOT_LETTER}
       | (?<![{LETTER}\d])(?P<alone>{alternate(list(ALONE))}){NOT_LETTER}""",
    re.VERBOSE,
)
GROUPED = re.compile(r"[1-9]\d{0,2}(?:(?P<mark>[., '])\d{3})(?:(?P=mark)\d{3})*|[1-9]\d?(?:,\d{2})+,\d{3}")
Three = Literal["group", "point", "doubt"]  # what one dot or comma before exactly three digits means


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
        if numeral is not None:
            found.append(numeral)
    return found


def read_numeral(match: re.Match[str]) -> Numeral | None:
    start, end = match.span()
    if match["digits"]:
        word = match["scale"] or ""
        return Numeral(start, end, match["digits"], SCALE_OF.get(word, Decimal(1)), word)
    if match["words"]:
        parts = re.findall(WORD, match["words"])
        value = add_words([WORD_OF[part] for part in parts])
        scale = SCALE_OF[match["word_scale"]] * (1000 if match["more_scale"] else 1)
        return None if value is None else Numeral(start, end, "", scale, match["word_scale"], value, value)
    if match["alone"]:
        value = Decimal(ALONE[match["alone"]])
        return Numeral(start, end, "", Decimal(1), match["alone"], value, value)
    return read_vague_han(match["mixed"] or match["han"], start)


def add_words(values: list[Decimal]) -> Decimal | None:
    """ "twenty five" is 25; "five twenty" is nothing."""
    pairs = pairwise(values)
    well = all((after < 10 <= before < 100 and before % 10 == 0) or before >= 100 > after for before, after in pairs)
    return sum(values, Decimal(0)) if well else None


def read_vague_han(written: str, start: int) -> Numeral | None:
    """十七万 is 170,000; 三万多 is at least 30,000; 数万, 几万 and 十几万 are ranges."""
    more = written.endswith(("多", "余")) or re.search(r"[多余][万千]$", written)
    plain = re.sub("[多余]", "", written)
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
    bound = Bound.AT_LEAST if more else Bound.ABOUT if few or alone else Bound.EXACT
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


# ---- counts of faces, people and sets

PLURALS = {
    Counted.PHOTO: """张 幅 人脸 人像 头像 照片 图片 相片 自拍 正脸 faces photos pics pictures images selfies
        photographs headshots portraits mugshots фото фотографий фотографии фоток фотки лиц лица селфи снимков
        изображений caras rostros fotos fotografías fotografias imágenes imagenes selfis फोटो तस्वीरें तस्वीर चेहरे
        चेहरों सेल्फी chehre chehron tasveer tasveeren tasveerein""",
    Counted.PERSON: """人 位 名 people persons individuals identities subjects humans человек людей персон личностей
        personas gente individuos identidades logon लोग लोगों व्यक्ति व्यक्तियों""",
    Counted.DOCUMENT: """身份证 证件 ids passports documents id_cards aadhaar_cards aadhar_cards pan_cards паспортов
        паспорта документов pasaportes documentos dnis आधार""",
    Counted.SET: """套 份 组 条 sets packs kits kycs records profiles наборов набора комплектов комплекта анкет
        анкеты juegos paquetes सेट""",
    Counted.ITEM: "个 pieces pcs штук unidades piezas",
}
SINGULARS = {  # a seller's "5000 photo" counts, "5000 photo frames" does not
    Counted.PHOTO: "face photo pic picture image selfie foto cara rostro лицо лиц. фотографию चेहरा",
    Counted.PERSON: "person persona log человека head",
    Counted.DOCUMENT: "id passport document dni паспорт",
    Counted.SET: "set pack kit kyc record profile набор комплект juego paquete",
    Counted.ITEM: "piece штуку штука шт. шт unit unidad pieza",
}
ONLY_IN_PRICES = {"pc": Counted.ITEM}  # 86 PC are computers
COUNTED_BY = ONLY_IN_PRICES | {
    word: of for table in (PLURALS, SINGULARS) for of, words in table.items() for word in words.split()
}
MEASURES = "张幅人位名套份组条个"  # after these no year and no resolution is meant
NOT_MEASURE = {  # 人民币 is money, 5000人付款 are buyers, 5000张三 is a name
    "人": "民币|气|次|看|付款|购买|已|收|关注|喜欢|浏览|评|工|均|下单|买", "人脸": "识别|支付|机|门禁|面具|口罩",
    "张": "三|嘴|口",
    "名": "片|单|字|额", "位": "置|数|于|密", "套": "路|餐", "组": "合|织", "条": "件|款", "个": "[\u4e00-\u9fff]",
    "身份证": "号",
}  # fmt: skip


def alternate_nouns(table: Mapping[Counted, str]) -> str:
    """The words of a table, the longest first; each ends where a word of its script does."""
    words = sorted((word for words in table.values() for word in words.split()), key=len, reverse=True)
    han = {word: f"(?!{NOT_MEASURE[word]})" if word in NOT_MEASURE else "" for word in words if word[-1] > "\u4e00"}
    return "|".join(re.escape(word).replace("_", "[ -]") + han.get(word, f"(?![{LETTER}\\d])") for word in words)


def count_by(noun: str) -> Counted:
    return COUNTED_BY[re.sub("[ -]", "_", noun)]


NOUN = f"(?:{alternate_nouns(PLURALS)}|{alternate_nouns(SINGULARS)})"
HUMANS = alternate(f"{PLURALS[Counted.PERSON]} {SINGULARS[Counted.PERSON]}")
SETS = alternate(
    "套 份 set sets pack packs kit kits набор набора наборы наборов комплект комплекта juego juegos paquetes सेट"
)
ADJECTIVES = alternate(
    """真人 高清 实名 真实 全新 独家 不同 活体 国内 中国 外国 男性 女性 男 女 大学生 学生 亚洲 real unique different
        distinct fresh new hq hd high_quality high_res high_resolution good clear original authentic verified live
        full private leaked scraped raw male female adult asian chinese indian russian american european african
        latin mexican spanish brazilian us usa eu face facial id kyc selfie photo human people person passport
        document doc profile liveness biometric portrait aadhaar aadhar adhaar of реальных уникальных свежих новых
        разных живых качественных настоящих nuevas nuevos diferentes distintas únicas unicas de asli alag naye नए
        असली अलग की के"""
)
MORE = alternate(
    "plus 多 余 or_more и_более или_больше y_más o_más se_zyada se_jyada se_upar से_ज्यादा से_ज़्यादा से_अधिक से_ऊपर"
)
UNIT = re.compile(
    rf"""(?P<more>\+|[ ]?(?:{MORE}))?(?:[ ]?来)?[ ]{{0,2}}(?:个(?=[\u4e00-\u9fff]))?
         (?:(?:{ADJECTIVES})(?:[ /-]{{1,2}}|(?<=[\u4e00-\u9fff]))){{0,4}}
         (?P<noun>(?:{alternate_nouns(PLURALS)})
                 |(?<!\+)(?:{alternate_nouns(SINGULARS)})
                  (?![ -](?!and|or|with|for|from|only|in|y|con|dump|data)[a-z]))""",
    re.VERBOSE,
)
BOUNDS = {
    Bound.AT_LEAST: """more_than over above at_least > >= ≥ 超过 超 多于 大于 不少于 至少 逾 过 上 более больше
        свыше не_менее más_de mas_de al_menos por_lo_menos kam_se_kam कम_से_कम""",
    Bound.AT_MOST: "up_to less_than below under < <= ≤ 最多 不超过 不到 少于 до менее меньше не_более hasta menos_de",
    Bound.ABOUT: """about around approx approx. approximately nearly almost roughly circa ca. ~ ≈ 约 大约 近 将近
        接近 大概 около примерно почти порядка unos unas cerca_de aproximadamente casi alrededor_de lagbhag karib
        kareeb लगभग करीब""",
}
QUALIFIER = re.compile(
    rf"(?<![{LETTER}])(?:{'|'.join(f'(?P<{bound.value}>{alternate(words)})' for bound, words in BOUNDS.items())}) ?\Z"
)
AFTER = re.compile(
    r"(?: ?(?P<at_least>及?以上|or more|и более|или больше|y más|o más|\+(?! ?[^\W\d_]))| ?(?P<about>左右|上下))"
)
RANGE = re.compile(r" ?(?:-|~|至|到) ?| (?:to|till|до|a|se|से) ")
RANGE_BETWEEN = re.compile(r" (?:and|y|и|по|aur) | ?和 ?")
BETWEEN = re.compile(r"(?:between|entre|между|с|от|desde|from) ?\Z")
LABEL = re.compile(  # "photos: 5000", "人数：1200"; not "ID: 5000"
    rf"(?<![{LETTER}])(?P<noun>{alternate_nouns(PLURALS)})(?:[ -]?(?:count|total|quantity|总?数量?|总量"
    rf"|量))? ?[:=x×*] ?\Z"
)
DATA = "库|数据集?|data|dataset|datasets|база|базы|base|bases|dump|database|db"
BESIDE = re.compile(rf"(?<![{LETTER}])(?:(?P<noun>{NOUN})(?:[ -]?(?:{DATA}))?|{DATA})[ :(]{{0,2}}\Z")
BESIDE_END = re.compile(r" ?\+?(?: ?\Z| ?[,.;|!()，。、\n]| [$€£¥₹₽]?\d)")
NUMBERED = alternate("set pack lot class grade bundle album batch лот набор комплект пак класс партия paquete lote")
SMALL_ORDINAL = re.compile(rf"(?<![{LETTER}])(?:{NUMBERED})[ :]?\Z")  # "set 3 selfie", "class 10 photos"
ORDINAL = re.compile(
    rf"(?<![{LETTER}])(?:"
    + alternate(
        """iphone ipad galaxy samsung pixel huawei xiaomi redmi oppo vivo android ios windows win version ver v vol
        volume part no nr num number page level tier top step chapter lot id uid qq tel phone whatsapp aged age
        since year model gen day week in covid python buy get min minimum moq free bonus sold limit first last every
        per order min_order minimum_order from room size type под от с desde каждые первые первым бонус бесплатно
        том версия номер часть página versión gratis cada primeros vendidos mín mínimo minimo минимум заказ size dpi"""
    )
    + r")[ .:#-]{0,2}\Z|\d(?:st|nd|rd|th) \Z|(?:第|前|每|满|买|送|赠|已售|销量|月销|售出|库存|编号|型号|手机|苹果"
    r"|华为|小米|安卓|版本"
    r"|起拍|起订|最低|限|更新|新增|每天|一天|每日|[日月周](?:更|出|产|增))[ :]{0,2}\Z"
)
JOINS = "to|or|и|или|或|and|y|o|a|e|aur|ya|se|से|до|至|到|de|of|из|和|&"  # "500 or 800", "3 of 5"
LONGER = re.compile(
    rf"(?<![{LETTER}])(?:{WORD}|{SCALE})[ -]\Z(?<! a )(?<![百千万亿] )|[{HAN}几数]\Z"
)  # the end of a longer number
NOT_BEFORE = re.compile(
    rf"""(?:[{LETTER}]|[-/\\#@_%^&=.№])(?<![^{LETTER}][x×])\Z   # part of a word, a name, a path; a negative number
       | [$€£¥₹₽₿]\ ?\Z                                        # a price
       | \d\ ?(?:{SCALE})?(?::|\ ?(?:[ x×*~/-]|{JOINS})\ ?)\Z   # half of a number, a time, a size, a choice
       | (?<![$€£¥₹₽\d.,])(?<![$€£¥₹₽]\ )\d[\d.,]*(?:{SCALE})?\ ?[,、]\ ?\Z  # a list of numbers""",
    re.VERBOSE,
)
NOT_AFTER = re.compile(
    r" ?(?:(?:bought|viewed|watching|watched|likes?|liked|sold|ordered|online|visited|voted|купили|продано|смотрят"
    r"|vendidas|vendidos)\b"
    r"|/ ?(?:元|块|[$€£¥₽₹]|usd|rs\b|руб|day|d\b|天|日|h\b|час|день)|(?:per|a|each|every) (?:day|hour|week|month)"
    r"|daily|в день|al día|por día"
    r"|每天|起)"
)
EACH_AFTER = re.compile(
    rf" ?(?:(?:per|for each|each|for every|/) ?(?:unique )?(?:{HUMANS}|people|face|id|identity|head|model"
    rf"|subject){NOT_LETTER}"
    rf"|(?:for )?each{NOT_LETTER}|(?:на|с) (?:одного |каждого )?(?:человека|каждого|одного|лицо|персону)"
    rf"|(?:por|de) (?:cada )?(?:persona|cabeza|individuo)|cada (?:persona|una?){NOT_LETTER}|har ek|/ ?чел"
    rf"|[x×] (?:{HUMANS}){NOT_LETTER}|[x×*] ?[\d.,]{{1,12}} ?(?:{SCALE})? ?(?:{HUMANS}){NOT_LETTER})"
)
EACH_BEFORE = re.compile(
    rf"(?:每个?人|每位|人均|[一1] ?人|(?:each|per|every|har) (?:person|id|identity|model|vyakti)(?: has)?|each"
    rf"|each (?:with|has)"
    rf"|(?:на|с|у) (?:каждого|человека)|(?:cada|por) persona(?: tiene)?|cada un[oa] con|har ek ke|प्रति व्यक्ति"
    rf"|(?:{HUMANS})[ )]?[x×*])(?: по)?[ :-]{{0,2}}\Z"
)
SET_BEFORE = re.compile(
    rf"(?:(?<![{LETTER}])(?:{SETS})(?: of| по| de|[ )]?[x×*]|: )|每[套份]|[一1全整][套份]|(?:each|per"
    rf"|every) (?:{SETS})(?: has)?)[ :]?\Z"
)
SET_AFTER = re.compile(rf" ?(?:per|each|in each|in a|/|in every|в|por|por cada|на) ?(?:{SETS}){NOT_LETTER}")
YEAR = re.compile(r"199\d|200[1-9]|20[1-3]\d")  # 2000 photos are rather photos than a year
AGES = frozenset(("16", "18", "21"))  # 18+ selfies
RESOLUTIONS = frozenset(("2k", "4k", "8k", "2к", "4к", "8к"))  # 4k photos
PLUS = re.compile(r"\+ ?\Z")  # ID + 2 selfies
RANGE_START = re.compile(r"(?:from|от|с|desde|de) ?\Z")
NOT_BARE = re.compile(rf" ?[{LETTER}%°/]|[\u4e00-\u9fff]")
LONE_END = re.compile(r" ?(?:\+|以上|左右|多)? ?[.!。]?\Z")
ENGLISH = re.compile(r"[a-z]+s|people|face|photo|selfie|image|picture|person|pic")
SPANISH = frozenset(
    ("fotos", "caras", "rostros", "personas", "selfis", "imagenes", "documentos", "pasaportes", "juegos", "paquetes")
)


def read_claims(text: str, *, labelled: bool = False) -> tuple[Claim, ...]:
    """What a text claims to hold. `labelled`: it comes from a place for the count alone, so a bare number is one."""
    flat = flatten(text)
    numerals = scan_numerals(flat)
    claims: list[Claim] = []
    second = False
    for low, after in zip(numerals, [*numerals[1:], None], strict=False):
        if second:
            second = False
            continue
        high = after if after is not None and is_range(flat, low, after) else low
        second = high is not low
        claim = read_claim(text, flat, low, high, labelled=labelled)
        if claim is not None:
            claims.append(claim)
    return tuple(claims)


def parse_count(text: str, *, labelled: bool = False) -> int | None:
    """How many faces, photos, people or sets a text claims; None if it says none, a range, or different numbers."""
    claims = [claim for claim in read_claims(text, labelled=labelled) if claim.of != Counted.PHOTO_PER_PERSON]
    found = {claim.number for claim in claims}
    shared = any(claim.of == Counted.PHOTO_PER_SET for claim in claims)  # how many sets are meant is not said here
    return None if shared or len(found) != 1 else found.pop()


def is_range(flat: str, low: Numeral, high: Numeral) -> bool:
    between = flat[low.end : high.start]
    if len(between) > 8 or MARK_BEFORE.search(flat, max(0, low.start - WINDOW), low.start):
        return False
    before = BETWEEN.search(flat, max(0, low.start - WINDOW), low.start)
    return bool(RANGE.fullmatch(between) or (before and RANGE_BETWEEN.fullmatch(between)))


def read_claim(text: str, flat: str, low: Numeral, high: Numeral, *, labelled: bool) -> Claim | None:
    """The claim whose number is `low` to `high`, if its surroundings say that it is one."""
    place = find_place(flat, low, high, labelled)
    counts = read_counts(low, high)
    if place is None or counts is None or is_other_number(flat, low, high, place):
        return None
    start, bound = find_bound(flat, low, high, place)
    end = place.end
    if after := AFTER.match(flat, end):
        bound, end = Bound(str(after.lastgroup)), after.end()
    if place.start < low.start:
        start = min(start, place.start)
    return Claim(text=text[start:end], low=counts[0], high=counts[1], bound=bound, of=find_owner(flat, start, place))


class Place(NamedTuple):
    """Where a number stands beside its noun: `start` to `end` holds both."""

    start: int
    end: int
    noun: str
    of: Counted
    more: bool


def find_place(flat: str, low: Numeral, high: Numeral, labelled: bool) -> Place | None:
    """The noun that a number counts: after it; before it and a colon; or, for a large number, just before it."""
    if unit := UNIT.match(flat, high.end):
        return Place(low.start, unit.end(), unit["noun"], count_by(unit["noun"]), bool(unit["more"]))
    open_end = BESIDE_END.match(flat, high.end)
    if NOT_BARE.match(flat, high.end) or (MARK_AFTER.match(flat, high.end) and not open_end):
        return None
    window = max(0, low.start - WINDOW)
    large = all(is_large(each) for each in (low, high))
    label = LABEL.search(flat, window, low.start)
    if label is None and large and open_end:
        label = BESIDE.search(flat, window, low.start)
    if label is not None:
        noun = label["noun"] or ""
        return Place(label.start(), high.end, noun, count_by(noun) if noun else Counted.ITEM, False)
    start = qualifier.start() if (qualifier := QUALIFIER.search(flat, window, low.start)) else low.start
    alone = not flat[:start].strip() and LONE_END.match(flat, high.end)
    return Place(low.start, high.end, "", Counted.ITEM, False) if alone and (large or labelled) else None


def is_large(numeral: Numeral) -> bool:
    """Is it written as only a large number is: with a scale, in words, or in groups of three?"""
    if numeral.low is not None:
        return numeral.low * numeral.scale >= 1000 and numeral.scale_word not in ALONE
    marks = re.sub(r"\d", "", numeral.digits)
    return bool(numeral.scale_word) or len(marks) > 1 or (marks in (",", " ", "'") and read_count(numeral) is not None)


def read_count(numeral: Numeral) -> Decimal | None:
    """A count has no fractions, so one separator before three digits groups them, unless a scale follows."""
    if not numeral.scale_word:
        return numeral.read("group")
    if numeral.scale_word[-1] in HAN_UNITS:
        return numeral.read("group" if "," in numeral.digits else "point")
    return numeral.read("doubt")


def read_counts(low: Numeral, high: Numeral) -> tuple[int, int] | None:
    if low is high and low.low is not None and low.high is not None:
        values = [low.low * low.scale, low.high * low.scale]
    else:
        first, last = read_count(low), read_count(high)
        if first is None or last is None:
            return None
        if low is not high and not low.scale_word and high.scale_word and first < last / high.scale:
            first *= high.scale  # "5-10k"
        values = [first, last]
    well = all(value == value.to_integral_value() and 1 < value <= LARGEST_COUNT for value in values)
    return (int(values[0]), int(values[1])) if well and (low is high or values[0] < values[1]) else None


def is_other_number(flat: str, low: Numeral, high: Numeral, place: Place) -> bool:
    """Is it a year, an age, a resolution, a price, a part of a longer number, an ordinal, or what buyers did?"""
    window = max(0, low.start - WINDOW)
    if place.start == low.start and is_part(flat, low, high):
        return True
    if NOT_AFTER.match(flat, place.end):
        return True
    if place.noun and place.noun[0] in MEASURES and place.noun not in ("人脸", "人像"):
        return False
    written = {each.digits + each.scale_word for each in (low, high)}
    if any(YEAR.fullmatch(each) for each in written):
        return True
    if low is high and low.scale_word == "mil":  # a million in English slang, a thousand in Spanish
        return bool(ENGLISH.fullmatch(place.noun)) and place.noun not in SPANISH
    qualified = place.more or QUALIFIER.search(flat, window, low.start) or AFTER.match(flat, place.end)
    return bool(low is high and (written & AGES if qualified else written & RESOLUTIONS and place.of == Counted.PHOTO))


def is_part(flat: str, low: Numeral, high: Numeral) -> bool:
    """Does what stands before a number make it another one: "iPhone 15", "1920x1080", "ID + 2 selfies"?"""
    window = max(0, low.start - WINDOW)
    ranged = low is not high and RANGE_START.search(flat, window, low.start)
    small = low is high and (read_count(low) or 0) < 1000
    return bool(
        (ORDINAL.search(flat, window, low.start) and not ranged)
        or (small and (read_count(low) or 0) < 100 and SMALL_ORDINAL.search(flat, window, low.start))
        or NOT_BEFORE.search(flat, window, low.start)
        or LONGER.search(flat, window, low.start)
        or (small and PLUS.search(flat, window, low.start))
    )


def find_bound(flat: str, low: Numeral, high: Numeral, place: Place) -> tuple[int, Bound]:
    """Where the words that qualify a number start, and what they say."""
    window = max(0, low.start - WINDOW)
    if qualifier := QUALIFIER.search(flat, window, low.start):
        bound = Bound(str(qualifier.lastgroup))
        return qualifier.start(), Bound.AT_LEAST if place.more and bound == Bound.ABOUT else bound
    if PLUS.search(flat, window, low.start) or place.more:
        return low.start, Bound.AT_LEAST
    return low.start, low.bound if low is high else Bound.EXACT


def find_owner(flat: str, start: int, place: Place) -> Counted:
    """Photos may be counted for each person or each set."""
    if place.of != Counted.PHOTO:
        return place.of
    window = max(0, start - WINDOW)
    if EACH_AFTER.match(flat, place.end) or EACH_BEFORE.search(flat, window, start):
        return Counted.PHOTO_PER_PERSON
    if SET_AFTER.match(flat, place.end) or SET_BEFORE.search(flat, window, start):
        return Counted.PHOTO_PER_SET
    return Counted.PHOTO


# ---- prices

CURRENCIES = {  # first those that may stand on both sides of the number, then those that only follow it
    "CNY": ("¥ rmb cny 人民币", "元 块钱 块 yuan юаней юань"), "JPY": ("jpy", "円 日元 日圆 日币 yen"),
    "USD": ("us$ $ usd", """dollars dollar bucks buck 美元 美金 美刀 刀 dólares dolares доллар доллара долларов баксов
            бакса"""),
    "EUR": ("€ eur", "euro euros 欧元 евро"), "GBP": ("£ gbp", "pounds quid 英镑 фунтов"),
    "RUB": ("₽ rub", "руб. руб рублей рубля р. р rubles roubles 卢布"),
    "INR": ("₹ inr rs. rs", "rupees rupee rupaye rupay rupya रुपये रुपए रु रुपया"),
    "UAH": ("₴ uah", "грн гривен"), "KZT": ("₸ kzt", "тенге"), "BRL": ("r$ brl", "reais"), "MXN": ("mxn mx$", ""),
    "ARS": ("ars ar$", ""),
    "COP": ("cop", ""), "CLP": ("clp", ""), "HKD": ("hk$ hkd", "港币 港元"), "TWD": ("nt$ twd", "台币 新台币"),
    "CAD": ("c$ ca$ cad", ""),
    "AUD": ("a$ au$ aud", ""), "SGD": ("s$ sgd", ""),
    "USDT": ("usdt", "u 泰达币 tether"), "USDC": ("usdc", ""), "BTC": ("₿ btc xbt", "比特币 bitcoin bitcoins"),
    "ETH": ("eth", "ethereum 以太坊"), "XMR": ("xmr", "monero 门罗币"), "LTC": ("ltc", ""), "TRX": ("trx", ""),
    "TON": ("ton", ""),
    "": ("", "pesos peso"),  # of which country?
}  # fmt: skip
FRACTIONS = {
    "CNY": {"0.1": "毛 毛钱 角", "0.01": "分 分钱"}, "USD": {"0.01": "cents cent ¢"}, "INR": {"0.01": "paise"},
    "RUB": {"0.01": "коп коп. копеек", "1000": "т.р. т.р тр тыр"},
}  # fmt: skip
WORTH = {mark: Decimal(worth) for each in FRACTIONS.values() for worth, marks in each.items() for mark in marks.split()}
CODE_OF = {mark.lower(): code for code, sides in CURRENCIES.items() for side in sides for mark in side.split()}
CODE_OF |= {mark: code for code, each in FRACTIONS.items() for marks in each.values() for mark in marks.split()}
BOTH_SIDES = frozenset(mark.lower() for before, _after in CURRENCIES.values() for mark in before.split())
LOOSE = {
    "$": {"USD", "HKD", "TWD", "CAD", "AUD", "SGD", "MXN", "ARS", "COP", "CLP", "BRL", "USDT", "USDC", ""},
    "¥": {"CNY", "JPY"},
}
WHOLE = frozenset(("EUR", "RUB", "UAH", "KZT", "ARS", "COP", "CLP", "BRL", ""))  # written 1.200 for 1200 at home
COINS = frozenset(("BTC", "ETH", "XMR", "LTC", "TRX", "TON"))  # have fractions of any length


def alternate_marks(marks: Collection[str]) -> str:
    """Currency marks, the longest first; one that begins or ends with a letter is a word of its own."""
    letter = re.compile(f"[{LETTER}]")
    signs: list[str] = []
    words: list[str] = []
    for mark in sorted(marks, key=len, reverse=True):
        end = rf"{NOT_LETTER}(?!\.[a-z])" if letter.match(mark[-1]) else ""
        (words if letter.match(mark) else signs).append(re.escape(mark) + end)
    first = re.escape("".join(sorted({mark[0] for mark in marks})))  # looked at first, because it is quick
    return f"(?=[{first}])(?:(?<![{LETTER}])(?:{'|'.join(words)})|{'|'.join(signs)})"


COUNTRIES = "usd|mxn|ars|cop|clp|cad|aud|sgd|hkd|twd|rmb|cny|jpy|人民币"
MARK = re.compile(rf"(?:(?<![{LETTER}])(?P<country>{COUNTRIES}) ?(?=[$¥]))?(?P<mark>{alternate_marks(CODE_OF)})")
MARK_BEFORE = re.compile(rf"(?:{alternate_marks(BOTH_SIDES)})[ .:]?\Z")
MARK_AFTER = re.compile(rf" ?(?:{alternate_marks(CODE_OF)})")
PER_AFTER = re.compile(
    rf"""[ ]?(?P<word>/(?!-)|per|for[ ](?:each|every)|each|every|an?|за(?:[ ]кажд\w{{2,3}}|[ ]одну|[ ]одно|[ ]один)?
           |por(?:[ ]cada)?(?:[ ]una?)?|cada|la|el|[一每]|1(?=[张套份个人条组])|प्रति|prati)[ ]?
         (?:(?P<n>\d{{1,7}}|1[ .,]000)?(?P<scale>k|к|w|тыс(?:ячу|яч)?\.?|thousand|lakh|百|千|万)?(?![{LETTER}\d]))?[ ]?
         (?:(?:{ADJECTIVES})[ ]){{0,2}}(?P<noun>(?:{NOUN}|pc)(?![{LETTER}]))?""",
    re.VERBOSE,
)
PER_BEFORE = re.compile(
    rf"(?:(?<!第)(?:每|[一1])(?P<n>\d{{2,6}})? ?(?P<scale>百|千|万)?(?P<han>[张套份个人条组])(?:人脸|照片|图片|图"
    rf"|身份证)?"
    rf"|(?<![{LETTER}])(?:per|each|cada|за|por|одно|одна|प्रति|prati|ek|एक) (?P<noun>{NOUN})) ?[:=-]? ?\Z"
)
PER_ALONE = re.compile(rf" ?(?:each|apiece|c/u|cada un[oa]){NOT_LETTER}")
PER_TIME = re.compile(
    rf" ?(?:/|per|an?|each|every|每|一|в|за|al|por|cada|包)? ?"
    rf"(?:day|week|month|year|hour|mo|min|天|周|月|年|小时|день|неделю|месяц|мес|час|mes|día|semana|año|gb|mb|гб|g"
    rf"|kg){NOT_LETTER}"
)
SCALE_PER = {"": 1, "百": 100, "k": 1000, "к": 1000, "т": 1000, "千": 1000, "w": 10_000, "万": 10_000, "l": 100_000}
ANY_MARK = alternate_marks(CODE_OF)
NO_PRICE_BEFORE = re.compile(
    rf"(?:[\d.,_@#№=\\^%-]|\d[ ~]|\A- )\Z|\d ?(?:{ANY_MARK})? ?(?:-|~|/|{JOINS}) ?\Z|(?:{ANY_MARK}) ?/ ?\Z"
)
NO_PRICE_AFTER = re.compile(rf" ?(?:-|~|{JOINS}) ?(?:{alternate_marks(BOTH_SIDES)})? ?\d")
LETTERS = re.compile(rf"[{LETTER}%°]")
HUNDREDS = re.compile(r" \d{1,3}(?!\d)")
DISCOUNT = re.compile(r"\d ?[%$€£¥]? ?-?off\b|折|满 ?\d+ ?减|立减|скидк|discount|descuento")
PRICE_LABEL = re.compile(r"(?:price|cost|цена|стоимость|precio|价格|售价|价|कीमत|दाम|daam|kimat)? ?[:=]? ?")
JAPANESE = re.compile(r"[\u3040-\u30ff]|円|日元|jpy|yen")


class Mark(NamedTuple):
    start: int
    end: int
    word: str
    country: str | None = None  # MXN $1,500


DOUBT = Mark(-1, -1, "")


def read_prices(text: str) -> tuple[Money | None, ...]:
    """The prices of a text in their order; None for each number beside a currency that cannot be read for certain."""
    flat = flatten(text)
    if not MARK.search(flat) or DISCOUNT.search(flat):
        return ()
    numerals = scan_numerals(flat)
    owned = share_marks(flat, numerals)
    return tuple(read_money(text, flat, numerals[at], marks) for at, marks in sorted(owned.items()))


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
        return {"$": "USD", "¥": "JPY" if JAPANESE.search(flat) else "CNY"}[loose.pop()] if len(loose) == 1 else None
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
    point = "," not in numeral.digits
    if numeral.scale_word:
        han = numeral.scale_word[-1] in HAN_UNITS
        return numeral.read(("point" if point else "group") if han else "doubt")
    if code in COINS:
        return numeral.read("point" if point else "doubt")
    return numeral.read("group" if not point or code in WHOLE else "doubt")


TAIL = re.compile(
    rf"(?P<digit>[\d{HAN}])(?P<coin>毛|角|(?=[一每][张套份个人条组])|(?!\d|[{HAN}]|[张套份个人条组名位]))"
)
TAIL_COUNT = re.compile(rf"(?:[一每1][张套份个人条组]|\d[\d.,]*(?:{SCALE})?(?=[ +]?[^\d]))")


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


class Per(NamedTuple):
    of: Counted | None
    number: int
    start: int
    end: int


def find_per(flat: str, start: int, end: int) -> Per | None:
    """What a price at `start` to `end` is for; None where it is for something unknown."""
    if before := PER_BEFORE.search(flat, max(0, start - WINDOW), start):
        count = int(before["n"] or 1) * SCALE_PER[before["scale"] or ""]
        return Per(count_by(before["han"] or before["noun"]), count, before.start(), end)
    after = PER_AFTER.match(flat, end)
    if after is None:
        alone = PER_ALONE.match(flat, end)
        return Per(Counted.ITEM, 1, start, alone.end()) if alone else Per(None, 1, start, end)
    word, noun = after["word"], after["noun"]
    number, scale = re.sub(r"\D", "", after["n"] or ""), SCALE_PER[(after["scale"] or "")[:1].replace("t", "k")]
    if (
        noun
        and (not number or word in ("/", "per"))
        and not (word.startswith(("за", "por")) and (number or after["scale"]))
    ):
        return Per(count_by(noun), int(number or 1) * scale, start, after.end())
    if word == "/" and (scale > 1 or number in ("100", "1000", "10000")):
        return Per(
            Counted.ITEM, int(number or 1) * scale, start, after.end("scale") if after["scale"] else after.end("n")
        )
    if alone := PER_ALONE.match(flat, end):
        return Per(Counted.ITEM, 1, start, alone.end())
    return None if word in ("/", "per", "每", "every", "प्रति", "prati") else Per(None, 1, start, end)


def find_price_bound(flat: str, start: int, end: int) -> Bound:
    window = max(0, start - WINDOW)
    if qualifier := QUALIFIER.search(flat, window, start):
        return Bound(str(qualifier.lastgroup))
    if re.compile(r" ?(?:起|及?以上|\+)").match(flat, end) or RANGE_START.search(flat, window, start):
        return Bound.AT_LEAST
    return Bound.EXACT


def find_money(text: str) -> Money | None:
    """The price of a text; None if there is none, more than one, or one that cannot be read."""
    prices = read_prices(text)
    values = {price and (price.amount, price.currency, price.per, price.per_count) for price in prices}
    return prices[0] if len(values) == 1 else None


def find_price(text: str) -> str:
    """The part of a text that is a price with its currency; nothing if there is none, or more than one."""
    money = find_money(text)
    return money.text if money else ""


def parse_price(text: str) -> tuple[Decimal | None, str | None]:
    """(amount, ISO 4217 code or a coin's) of a text that is a price; None where it does not say, or says two things."""
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


def unit_price(price: Decimal | None, currency: str | None, count: int | None, rates: Rates) -> Decimal | None:
    """What one face costs in the reference currency, to a millionth; None where anything of it is not known.

    For money quoted per face or person pass its `per_count` as the count.
    """
    rate = Decimal(1) if currency == rates.reference else rates.rates.get(currency or "")
    if price is None or rate is None or count is None or count <= 0:
        return None
    if not (price.is_finite() and rate.is_finite() and 0 < price <= HIGHEST_PRICE and 0 < rate <= HIGHEST_PRICE):
        return None
    with localcontext() as context:
        context.prec = 50
        return (price * rate / count).quantize(Decimal("0.000001"), ROUND_HALF_EVEN)
