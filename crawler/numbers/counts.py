"""In comes a text, out come the counts it claims of faces, people and sets.

A number is a claim only beside a word for photos, people or sets.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from crawler.numbers.numerals import EITHER, HAN, HAN_UNITS, SCALE, SHIFT, Bound, Numeral, scan_numerals
from crawler.numbers.text import (
    LETTER,
    LONGEST_TEXT,
    MARK_AFTER,
    MARK_BEFORE,
    NOT_LETTER,
    WINDOW,
    Lazy,
    alternate,
    flatten,
)
from crawler.numbers.words import ALONE, TIGHT, WORD_OF

LARGEST_COUNT = 10**10  # more than there are people


class Counted(StrEnum):
    PHOTO = "photo"  # a photo, face or selfie
    PERSON = "person"
    DOCUMENT = "document"
    SET = "set"
    ITEM = "item"  # a piece of something that is not named
    PHOTO_PER_PERSON = "photo_per_person"
    PHOTO_PER_SET = "photo_per_set"


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


PARTS = {  # of people by sex: where a seller counts them apart, the number of all is the sum
    "men": """男 男性 男生 男人 men males guys hombres varones мужчин мужчины парней парня purush mard पुरुष पुरुषों""",
    "boys": "boys chicos мальчиков ladke लड़के",
    "women": """女 女性 女生 女人 women females ladies mujeres женщин женщины mahila mahilaen mahilayen auratein महिला
        महिलाएं महिलाओं औरतें""",
    "girls": "girls chicas niñas девушек девушки девочек ladkiyan लड़कियां",
    "children": "儿童 小孩 children kids niños дети детей menores bachche बच्चे",
}
LONE_PARTS = {"men": "male masculinos masculinas мужских", "women": "female femeninos femeninas женских"}
SEXES = {"boys": "men", "girls": "women"}
PART_OF = {word: part for table in (PARTS, LONE_PARTS) for part, words in table.items() for word in words.split()}
PLURALS = {
    Counted.PHOTO: """张 幅 人脸 人像 头像 照片 图片 相片 自拍 正脸 证件照 训练图 素材图 样本图 人像图 正面图 大头照
        faces photos pics pictures images
        imgs selfies photographs headshots portraits mugshots snapshots crops avatars pngs jpgs jpegs closeups
        close-ups фото фотографий фотографии фоток фотки лиц лица селфи снимков снимка изображений изображения
        портретов портрета кадров аватарок кропов caras retratos recortes avatares rostros fotos fotografías
        fotografias imágenes imagenes selfis फोटो तस्वीरें तस्वीर चेहरे चेहरों सेल्फी chehre chehron tasveer
        tasveeren tasveerein""",
    Counted.PERSON: f"""{" ".join(PARTS.values())} 人 位 名 people participants volunteers donors adults
        students ppl persons individuals identities subjects humans человек людей персон личностей
        участников добровольцев граждан взрослых студентов personas gente individuos identidades participantes
        voluntarios sujetos estudiantes adultos logon logo aadmiyon लोग लोगों व्यक्ति व्यक्तियों""",
    Counted.DOCUMENT: """身份证 证件 ids passports documents id_cards aadhaar_cards aadhar_cards pan_cards паспортов
        паспорта документов pasaportes documentos dnis आधार""",
    Counted.SET: """套 份 组 条 sets packs kits kycs records profiles наборов набора комплектов комплекта анкет
        анкеты juegos paquetes सेट""",
    Counted.ITEM: "个 pieces pcs штук unidades piezas",
}
SINGULARS = {  # a seller's "5000 photo" counts, "5000 photo frames" does not
    Counted.PHOTO: """face photo pic picture image selfie foto cara rostro retrato portrait headshot crop png
        jpg jpeg mugshot лицо лиц. портрет снимок фотографию चेहरा tasvir chehra""",
    Counted.PERSON: f"{' '.join(LONE_PARTS.values())} person persona log aadmi vyakti человека head",
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
    "人": "脸|民币|气|次|看|付款|购买|已|收|关注|喜欢|浏览|评|工|均|下单|买", "人脸": "识别|支付|机|门禁|面具|口罩",
    "张": "三|嘴|口",
    "名": "片|单|字|额", "位": "置|数|于|密", "套": "路|餐", "组": "合|织", "条": "件|款", "个": "[\u4e00-\u9fff]",
    "身份证": "号",
    **dict.fromkeys(PARTS["men"].split()[:4] + PARTS["women"].split()[:4], "[\u4e00-\u9fff:](?<!共|合)"),
}  # fmt: skip
ONLY_BEFORE = {  # logo ka aadhaar: of people; but a logo may have photos
    "logo": "[ ]k[aie][ ](?:aadhaa?r|adhaa?r|pan|kyc|id|selfie|chehr[aeo]|face)"
}


GOES_ON = alternate(  # after one "photo" of many; any other word may be what is counted
    """and or with for from only in y con dump data aur ya ready available hai hain he milega milenge milenge
        total each per at on of plus sab all real new fresh also no de para por listo disponibles total ka ke
        se sirf chahiye pack aged ages age who looking jóvenes latinos latinas packs set sets bundle collection"""
)


def alternate_nouns(table: Mapping[Counted, str]) -> str:
    """The words of a table, the longest first; each ends where a word of its script does."""
    words = [word for words in table.values() for word in words.split()]
    ends = {word: f"(?!{NOT_MEASURE[word]})" if word in NOT_MEASURE else "" for word in words if word[-1] > "\u4e00"}
    ends |= {word: f"(?={after})" for word, after in ONLY_BEFORE.items()}
    ends |= {  # "men's", "boys watches"
        word: f"(?![{LETTER}\\d'])(?![ -](?!(?:{GOES_ON}){NOT_LETTER})[a-z])" for word in PART_OF if word.isascii()
    }
    return alternate(words, {word: ends.get(word, f"(?![{LETTER}\\d])") for word in words})


def count_by(noun: str) -> Counted:
    return COUNTED_BY[re.sub("[ -]", "_", noun)]


NOUN = f"(?:{alternate_nouns(PLURALS)}|{alternate_nouns(SINGULARS)})"
HUMANS = alternate(f"{PLURALS[Counted.PERSON]} {SINGULARS[Counted.PERSON]}")
SETS = alternate(
    "套 份 set sets pack packs kit kits набор набора наборы наборов комплект комплекта juego juegos paquetes सेट"
)
ADJECTIVES = alternate(
    """真人 高清 实名 真实 全新 独家 不同 活体 国内 中国 外国 男性 女性 男 女 men women мужских женских
        人脸识别 人脸 训练 大学生
        学生 亚洲 real unique different distinct fresh new hq hd high_quality high_res high_resolution good
        clear         original authentic verified live full private leaked scraped raw male female adult asian chinese
        indian russian american european african latin mexican spanish brazilian us usa eu face facial id kyc
        selfie photo human people person passport document doc profile liveness biometric portrait aadhaar
        aadhar adhaar of реальных уникальных свежих новых разных живых качественных настоящих nuevas nuevos
        diferentes distintas únicas unicas de asli alag naye नए असली अलग की के"""
)
MORE = alternate(
    """plus odd and_some and_counting y_pico y_picos y_algo y_tantos y_tantas с_лишним с_лишком с_хвостиком
        с_небольшим с_гаком kuch_upar 多 余 or_more и_более или_больше y_más o_más se_zyada se_jyada se_upar
        से_ज्यादा से_ज़्यादा से_अधिक से_ऊपर"""
)
UNIT = Lazy(
    rf"""(?P<more>\+|[ -]?(?:{MORE}))?(?:[ ]?来)?[ ]{{0,2}}(?:个(?=[\u4e00-\u9fff]))?
         (?:(?:{ADJECTIVES})(?:[ /-]{{1,2}}|[ ][+&][ ]|(?<=[\u4e00-\u9fff]))){{0,4}}
         (?P<noun>(?:{alternate_nouns(PLURALS)})
                 |(?<!\+)(?:{alternate_nouns(SINGULARS)})
                  (?![ -](?!(?:{GOES_ON}){NOT_LETTER}|data(?:set|base)|wal[aei][ ](?:data|dump))[a-z]))""",
    re.VERBOSE,
)
BOUNDS = {
    Bound.AT_LEAST: """more_than over above at_least > >= ≥ 超过 超 多于 大于 不少于 不止 至少 逾 过 上 более больше
        свыше не_менее más_de mas_de al_menos por_lo_menos kam_se_kam कम_से_कम""",
    Bound.AT_MOST: """up_to less_than fewer_than below under < <= ≤ 最多 不超过 不到 少于 до менее меньше
        не_более hasta menos_de""",
    Bound.ABOUT: """about around close_to approx approx. approximately nearly almost roughly circa ca. ~ ≈ 约 大约 近
        将近 接近 大概 около примерно почти порядка unos unas cerca_de aproximadamente casi alrededor_de lagbhag karib
        kareeb लगभग करीब""",
}
QUALIFIER = Lazy(
    rf"(?<![{LETTER}])(?:{'|'.join(f'(?P<{bound.value}>{alternate(words)})' for bound, words in BOUNDS.items())}) ?\Z"
)
NEGATED = Lazy(rf"(?<![{LETTER}])(?:no|not|не) \Z|[不没] ?\Z")
OPPOSITE = {Bound.AT_LEAST: Bound.AT_MOST, Bound.AT_MOST: Bound.AT_LEAST}
AFTER = Lazy(
    r"(?: ?(?P<at_least>及?以上|or more|и более|или больше|y más|o más|\+(?! ?[^\W\d_]))| ?(?P<about>左右|上下))"
)
RANGE = Lazy(r" ?(?:-|~|至|到) ?| (?:to|till|до|a|se|से) ")
RANGE_BETWEEN = Lazy(r" (?:and|y|и|по|aur) | ?和 ?")
BETWEEN = Lazy(r"(?:between|entre|между|с|от|desde|from) ?\Z")
LABEL = Lazy(  # "photos: 5000", "人数：1200"; not "ID: 5000"
    rf"(?<![{LETTER}])(?P<noun>{alternate_nouns(PLURALS)})(?:[ (-]{{0,2}}(?:count|total|quantity|qty|cantidad"
    rf"|количество|кол-во|总?数量?|总量|量))? ?[:=x×*] ?\Z"
)
TIMES = Lazy(rf"(?<![{LETTER}])(?P<noun>{alternate_nouns(SINGULARS)}) ?[x×] ?\Z")  # "selfie x 350"
LARGER_THAN_A_SET = 100  # "ID + selfie x 2" is what a set holds; "18-25, 40" may be ages
DATA = "库|数据集?|data|dataset|datasets|база|базы|base|bases|dump|database|db"
BESIDE = Lazy(rf"(?<![{LETTER}])(?:(?P<noun>{NOUN})(?:[ -]?(?:{DATA}))?|{DATA})[ :(]{{0,2}}\Z")
BESIDE_END = Lazy(
    r" ?\+?(?: ?\Z| ?[,.;|!()，。、\n]| [$€£¥₹₽]?\d| (?=全|高清|真人|都|带|可|打包|低价|出|一手|不重|含))"
)
NUMBERED = alternate("set pack lot class grade bundle album batch лот набор комплект пак класс партия paquete lote")
SMALL_ORDINAL = Lazy(rf"(?<![{LETTER}])(?:{NUMBERED})[ :]?\Z")  # "set 3 selfie", "class 10 photos"
ORDINAL = Lazy(
    rf"(?<![{LETTER}])(?:"
    + alternate(
        """iphone ipad galaxy samsung pixel huawei xiaomi redmi oppo vivo android ios windows win version ver v vol
        volume part no nr num number page level tier top step chapter lot id uid qq tel phone whatsapp aged age
        since year model gen day week in covid python buy get min minimum moq free bonus sold limit first last every
        per order min_order minimum_order from room size type под от с desde каждые первые первым бонус бесплатно
        том версия номер часть página versión gratis cada primeros vendidos mín mínimo minimo минимум заказ size dpi
        iso iec гост ieee rfc sample preview demo образец пример превью muestra"""
    )
    + r")[ .:#-]{0,2}\Z|\d(?:st|nd|rd|th) \Z|(?:第|前|每|满|买|送|赠|已售|销量|月销|售出|库存|编号|型号|手机|苹果"
    r"|华为|小米|安卓|版本"
    r"|每(?!(?:个?人|位|[套份])[ :-]{0,2}\Z)[\u4e00-\u9fff]{1,3}|平均|[日周月年]均"
    r"|起拍|起订|最低|限|更新|新增|每天|一天|每日|[日月周](?:更|出|产|增))[ :]{0,2}\Z"
)
JOINS = (
    "to|or|и|или|或|and|y|o|a|e|aur|ya|me[ ]se|mein[ ]se|में[ ]से|se|से|до|至|到|de|of|из|和|&"  # "500 or 800", "3 of 5"
)
NUMBER_WORD = alternate([word for word in WORD_OF if word not in ("saath", "sath")])  # "ke saath" is with
LONGER = Lazy(
    rf"(?<![{LETTER}])(?:{SHIFT}|{NUMBER_WORD}|{SCALE})[ -](?:(?:and|y|с|{EITHER}) )?\Z(?<! a )(?<![百千万亿] )"
    rf"|[{HAN}几数]好?\Z"
    rf"|(?:half|third|quarters?|fourth|fifth|tenth|part|fraction) of \Z"
)  # the end of a longer number
NO_LIST = Lazy(  # "ages 18-25, 1200 faces", "en 4k, 900 fotos": the first says what it is
    rf"(?<![{LETTER}])(?:(?:age[sd]?|edad(?:es)?|возраст|umar|年龄)[ :]{{0,2}}(?:de |от )?"
    rf"\d\d ?(?:-|~|to|a|до|se) ?\d\d"
    rf"|(?:in|at|en|в) [248][kк]) ?, ?\Z"
)
NOT_BEFORE = Lazy(
    rf"""(?:[{LETTER}]|[-/\\#@_%^&=.№])(?<![^{LETTER}][x×])\Z   # part of a word, a name, a path; a negative number
       | [$€£¥₹₽₿]\ ?\Z                                        # a price
       | \d\ ?(?:{SCALE})?(?::|\ ?(?:[ x×*~/-]|{JOINS})\ ?)\Z   # half of a number, a time, a size, a choice
       | (?<![$€£¥₹₽\d.,x×*])(?<![$€£¥₹₽]\ )(?<!\d-\d\d-)\d[\d.,]*(?:{SCALE})?\ ?[,、]\ ?\Z
         # a list of numbers, which neither a size nor the end of a date or a telephone number begins""",
    re.VERBOSE,
)
NOT_AFTER = Lazy(
    r" ?(?:(?:bought|viewed|watching|watched|likes?|liked|sold|ordered|online|visited|voted|купили|продано|смотрят"
    r"|vendidas|vendidos)\b"
    r"|/ ?(?:元|块|[$€£¥₽₹]|usd|rs\b|руб|day|d\b|天|日|h\b|час|день)|(?:per|a|each|every) (?:day|hour|week|month)"
    r"|daily|в день|al día|por día"
    r"|每天|起)"
    rf"| ?(?:per|(?:for|in|from|of) (?:each|every)) (?!(?:unique )?(?:{HUMANS}|{SETS}|face|id|identity|head|model"
    rf"|subject){NOT_LETTER})[a-z]"
    rf"| (?:на|с|из|в) кажд\w{{2,3}} (?!(?:{HUMANS}|{SETS}|лицо|персону){NOT_LETTER})[а-я]"
    rf"| (?:por|de|en|para) cada (?!(?:{HUMANS}|{SETS}|un[oa]?){NOT_LETTER})[a-z]|(?:每|/)[国省市]"
    rf"| por (?:país|ciudad|estado|carpeta|pedido){NOT_LETTER}"
)
EACH_AFTER = Lazy(
    rf"(?: (?:of|de) (?:(?:the|la|el|su) )?(?:faces?|caras?|rostros?)| лиц[оа]?)?"
    rf" ?(?:(?:per|for each|each|for every|/) ?(?:unique )?(?:{HUMANS}|people|face|id|identity|head|model"
    rf"|subject){NOT_LETTER}"
    rf"|(?:for |from |of )?each{NOT_LETTER}|(?:на|с) (?:одного |каждого )?(?:человека|каждого|одного|лицо|персону)"
    rf"|(?:por (?:cada )?|de cada )(?:persona|cabeza|individuo){NOT_LETTER}"
    rf"|(?:de |por |para )?cada (?:persona|un[oa]?){NOT_LETTER}"
    rf"|har ek|/ ?чел"
    rf"|[x×] (?:{HUMANS}){NOT_LETTER}|[x×*] ?[\d.,]{{1,12}} ?(?:{SCALE})? ?(?:{HUMANS}){NOT_LETTER})"
)
EACH_BEFORE = Lazy(
    rf"(?:每个?人|每位|人均|[一1] ?人|(?:each|per|every|har) (?:{HUMANS}|id|identity|model)(?: has| k[aie])?|each"
    rf"|each (?:with|has)"
    rf"|(?:на|с|у) (?:каждого|человека)|(?:cada|por) persona(?: tiene)?|cada un[oa] con|har ek ke|प्रति व्यक्ति"
    rf"|(?:{HUMANS})[ )]?[x×*])(?: по)?[ :-]{{0,2}}\Z"
)
SHARED_OUT = Lazy(rf"(?<![{LETTER}])по \Z")  # "по 20 фото на 3000 человек"
SET_BEFORE = Lazy(
    rf"(?:(?<![{LETTER}])(?:{SETS})(?: of| по| de|[ )]?[x×*]|: )|每[套份]|[一1全整][套份]|(?:each|per"
    rf"|every) (?:{SETS})(?: has)?)[ :]?\Z"
)
SET_AFTER = Lazy(rf" ?(?:per|each|in each|in a|/|in every|в|por|por cada|на) ?(?:{SETS}){NOT_LETTER}")
YEAR = Lazy(r"199\d|200[1-9]|20[1-3]\d")  # 2000 photos are rather photos than a year
AGES = frozenset(("16", "18", "21"))  # 18+ selfies
RESOLUTIONS = frozenset(("2k", "4k", "8k", "2к", "4к", "8к"))  # 4k photos
PLUS = Lazy(r"\+ ?\Z")  # ID + 2 selfies
LENSES = frozenset(
    [
        "8",
        "10",
        "12",
        "14",
        "16",
        "18",
        "20",
        "24",
        "28",
        "35",
        "40",
        "50",
        "55",
        "60",
        "70",
        "80",
        "85",
        "90",
        "100",
        "105",
        "120",
        "135",
        "200",
        "300",
        "400",
    ]
)
PART_WORD = Lazy(f"(?<![{LETTER}])(?:{alternate(PART_OF)}){NOT_LETTER}")
PART_AFTER = Lazy(f" (?:de |of |с |от )?(?P<part>{alternate(PART_OF)}){NOT_LETTER}")
PART_BEFORE = Lazy(rf"(?<![{LETTER}\d{HAN}])(?P<part>{alternate(PART_OF)})(?:共|[ :(]{{1,2}})?\Z")
PART_JOIN = Lazy(
    rf"[ ,;/+&、|.:]{{0,3}}(?:(?:and|y|e|и|а также|aur|plus|more|और|和|及|以及)[ :]{{0,2}})?"
    rf"(?:(?:{alternate(PART_OF)})[ :]{{0,2}})?"
)
PART_PAIR = Lazy(
    rf"(?:{alternate(PART_OF)})(?:(?:,? (?:and|y|и|aur|और|or|или|o) |, | ?[/&+、和] ?|)"
    rf"(?:{alternate(PART_OF)})){{1,4}}+"
)
PART_ALONE = Lazy(rf"(?:{alternate([w for words in LONE_PARTS.values() for w in words.split()])}|男|女)\Z")
INCLUDING = alternate(
    """including incl incl. of_which of_them out_of_which из_них в_том_числе включая incluye incluyendo de_los_cuales
        de_las_cuales de_ellos jisme jismein inme जिनमें 其中 包括"""
)
OF_WHICH = Lazy(rf"(?<![{LETTER}])(?:{INCLUDING})[ :]{{0,2}}\Z")
RANGE_START = Lazy(r"(?:from|от|с|desde|de) ?\Z")
NOT_BARE = Lazy(rf" ?[{LETTER}%°/]|[\u4e00-\u9fff]")
LONE_END = Lazy(r" ?(?:\+|以上|左右|多)? ?[.!。]?\Z")
ENGLISH = Lazy(r"[a-z]+s|people|face|photo|selfie|image|picture|person|pic")
SPANISH = frozenset(
    ("fotos", "caras", "rostros", "personas", "selfis", "imagenes", "documentos", "pasaportes", "juegos", "paquetes")
)
SAID_IN_SPANISH = Lazy(
    rf"(?<![{LETTER}])(?:por|cada|vendo|más|cédula|rostros|caras|hoy|ahora|precio"
    rf"|oferta|descuento|para|los|las|reales|nuevas|nuevos|todas|todos|hombres|mujeres|dólares){NOT_LETTER}"
)


def read_claims(text: str, *, labelled: bool = False) -> tuple[Claim, ...]:
    """What a text claims to hold. `labelled`: it comes from a place for the count alone, so a bare number is one."""
    flat = flatten(text)
    numerals = scan_numerals(flat)
    found: list[Found] = []
    second = False
    for low, after in zip(numerals, [*numerals[1:], None], strict=False):
        if second:
            second = False
            continue
        high = after if after is not None and is_range(flat, low, after) else low
        second = high is not low
        place = find_place(flat, low, high, labelled)
        claim = place and read_claim(text, flat, low, high, place)
        if place and claim:
            found.append(Found(claim, min(low.start, place.start), place.end, find_part(flat, low, high, place)))
    return add_parts(text, flat, found)


def parse_count(text: str, *, labelled: bool = False) -> int | None:
    """How many faces, photos, people or sets a text claims; None if it says none, a range, or different numbers."""
    return choose_count(read_claims(text, labelled=labelled))


def choose_count(claims: Sequence[Claim]) -> int | None:
    claims = [claim for claim in claims if claim.of != Counted.PHOTO_PER_PERSON]
    found = {claim.number for claim in claims}
    shared = any(claim.of == Counted.PHOTO_PER_SET for claim in claims)  # how many sets are meant is not said here
    return None if shared or len(found) != 1 else found.pop()


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """What claims come to. `count`: of faces, photos, people or sets; `faces`: those that a price is shared among,
    each a photo, a person or a document. `doubtful`: two numbers for one thing."""

    count: int | None
    people: int | None
    faces: int | None
    doubtful: bool


def sum_up(claims: Sequence[Claim]) -> Totals:
    """ "5000 photos of 500 people" has both; "500 or 600 photos" neither."""
    ranges = {of: {(claim.low, claim.high) for claim in claims if claim.of == of} for of in Counted}

    def only(of: Counted) -> int | None:
        low, high = next(iter(ranges[of])) if len(ranges[of]) == 1 else (0, 1)
        return low if low == high else None

    count = choose_count(claims)
    if count is None and len(ranges[Counted.PHOTO]) == 1:
        count = only(Counted.PHOTO)
    counted = (Counted.PHOTO, Counted.PERSON, Counted.DOCUMENT, Counted.ITEM)
    what = next((of for of in counted if ranges[of]), None)
    faces = only(what) if what and not ranges[Counted.PHOTO_PER_PERSON] and not ranges[Counted.SET] else None
    photos, people = only(Counted.PHOTO), only(Counted.PERSON)
    if photos and people and photos < people:  # rather so many of each
        return Totals(count=None, people=people, faces=None, doubtful=True)
    doubtful = any(len(found) > 1 for found in ranges.values())
    return Totals(count=count, people=only(Counted.PERSON), faces=faces, doubtful=doubtful)


def is_range(flat: str, low: Numeral, high: Numeral) -> bool:
    between = flat[low.end : high.start]
    if len(between) > 8 or MARK_BEFORE.search(flat, max(0, low.start - WINDOW), low.start):
        return False
    before = BETWEEN.search(flat, max(0, low.start - WINDOW), low.start)
    return bool(RANGE.fullmatch(between) or (before and RANGE_BETWEEN.fullmatch(between)))


class Place(NamedTuple):
    """Where a number stands beside its noun: `start` to `end` holds both."""

    start: int
    end: int
    noun: str
    of: Counted
    more: bool


class Found(NamedTuple):
    """A claim, where it stands, and which part of the people it counts: men, women or children."""

    claim: Claim
    start: int
    end: int
    part: str


def read_claim(text: str, flat: str, low: Numeral, high: Numeral, place: Place) -> Claim | None:
    """The claim whose number is `low` to `high`, if its surroundings say that it is one."""
    counts = read_counts(low, high)
    if low.scale_word == "l" and place.of in (Counted.SET, Counted.ITEM):  # litres
        return None
    if counts is None or is_other_number(flat, low, high, place) or is_lens(text, low):
        return None
    start, bound = find_bound(flat, low, high, place)
    end = place.end
    if after := AFTER.match(flat, end):
        bound, end = Bound(str(after.lastgroup)), after.end()
    if place.start < low.start:
        start = min(start, place.start)
    return Claim(text=text[start:end], low=counts[0], high=counts[1], bound=bound, of=find_owner(flat, start, place))


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
    if label is None and (read_count(low) or 0) >= LARGER_THAN_A_SET:
        label = TIMES.search(flat, window, low.start)
    if label is not None:
        noun = label["noun"] or ""
        return Place(label.start(), high.end, noun, count_by(noun) if noun else Counted.ITEM, False)
    start = qualifier.start() if (qualifier := QUALIFIER.search(flat, window, low.start)) else low.start
    alone = not flat[:start].strip() and LONE_END.match(flat, high.end)
    return Place(low.start, high.end, "", Counted.ITEM, False) if alone and (large or labelled) else None


def find_part(flat: str, low: Numeral, high: Numeral, place: Place) -> str:
    """ "300 women", "300 female faces", "300 fotos de mujeres", "女2000人"; nothing where it says two or none."""
    after = PART_AFTER.match(flat, place.end)
    before = PART_BEFORE.search(flat, max(0, place.start - WINDOW), place.start)
    words = [match[0] for match in PART_WORD.finditer(flat[place.start : place.end])]
    words += [match["part"] for match in ((after,) if words else (after, before)) if match]
    parts = {PART_OF[word] for word in words}
    return parts.pop() if len(parts) == 1 else ""


def add_parts(text: str, flat: str, found: list[Found]) -> tuple[Claim, ...]:
    """ "300 men and 450 women" claims 750. One part of which the others are not known says nothing of the whole."""
    runs: list[list[Found]] = []
    for each in found:
        last = runs[-1] if runs else []
        fits = each.part and all(one.part and one.part != each.part for one in last)
        if last and fits and PART_JOIN.fullmatch(flat, last[-1].end, each.start):
            last.append(each)
        else:
            runs.append([each])
    if not any(each.part for each in found):
        return tuple(each.claim for each in found if not is_lone(flat, each))
    single = PART_PAIR.compiled.sub("", flat[:LONGEST_TEXT])  # "500 men and women" are 500
    spoken = {SEXES.get(part, part) for part in (PART_OF[match[0]] for match in PART_WORD.finditer(single))}
    return tuple(claim for run in runs if (claim := add_run(text, flat, run, spoken)))


def add_run(text: str, flat: str, run: list[Found], spoken: set[str]) -> Claim | None:
    claims = [each.claim for each in run]
    first = claims[0]
    if len(run) == 1:
        return None if (run[0].part and len(spoken) > 1) or is_lone(flat, run[0]) else first
    kinds = {claim.of for claim in claims}
    if kinds & {Counted.PHOTO_PER_PERSON, Counted.PHOTO_PER_SET}:
        return None
    joined = "+" in flat[run[0].end : run[-1].start]
    bounds = {Bound.EXACT} if joined else {claim.bound for claim in claims}
    return Claim(
        text=text[run[0].start : run[-1].end],
        low=sum(claim.low for claim in claims),
        high=sum(claim.high for claim in claims),
        bound=bounds.pop() if len(bounds) == 1 else Bound.ABOUT,
        of=Counted.PHOTO if Counted.PHOTO in kinds else first.of,
    )


def is_lone(flat: str, found: Found) -> bool:
    """ "3000 female" without a noun or "of which 3000 women" is a part of a number that stands elsewhere."""
    alone = found.part and PART_ALONE.search(flat, found.start, found.end)
    return bool(alone or OF_WHICH.search(flat, max(0, found.start - WINDOW), found.start))


def is_lens(text: str, numeral: Numeral) -> bool:
    """3.5MM faces are millions, 35mm photos were taken with a lens."""
    if numeral.scale_word != "mm":
        return False
    return not text[numeral.start : numeral.end].endswith("MM") or numeral.digits in LENSES


def is_large(numeral: Numeral) -> bool:
    """Is it written as only a large number is: with a scale, in words, or in groups of three?"""
    if numeral.low is not None:
        return numeral.low * numeral.scale >= 1000 and numeral.scale_word not in ALONE
    marks = re.sub(r"\d", "", numeral.digits)
    return (
        (bool(numeral.scale_word) and numeral.scale_word not in (*TIGHT, "mm"))
        or len(marks) > 1
        or (marks in (",", " ", "'") and read_count(numeral) is not None)
    )


def read_count(numeral: Numeral) -> Decimal | None:
    """A count has no fractions, so one separator before three digits groups them, unless a scale follows."""
    if not numeral.scale_word:
        value = numeral.read("group")
        return value if value is None or not numeral.digits or "." not in str(value) else None
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
    if place.start == low.start and is_part(flat, low, high, part=place.noun in PART_OF):
        return True
    if NOT_AFTER.match(flat, place.end):
        return True
    if place.noun and place.noun[0] in MEASURES and place.noun not in ("人脸", "人像"):
        return False
    if place.noun in PART_OF and (read_count(low) or 0) < LARGER_THAN_A_SET and is_age(flat, low, high, place):
        return True
    written = {each.digits + each.scale_word for each in (low, high)}
    if any(YEAR.fullmatch(each) for each in written):
        return True
    if low is high and low.scale_word == "mil":  # a million in English slang, a thousand in Spanish
        return bool(ENGLISH.fullmatch(place.noun)) and place.noun not in SPANISH and not SAID_IN_SPANISH.search(flat)
    qualified = place.more or QUALIFIER.search(flat, window, low.start) or AFTER.match(flat, place.end)
    return bool(low is high and (written & AGES if qualified else written & RESOLUTIONS and place.of == Counted.PHOTO))


def is_age(flat: str, low: Numeral, high: Numeral, place: Place) -> bool:
    """ "women 18-35", "men: 25", "over 40 women" """
    qualified = place.more or find_qualifier(flat, low.start) or AFTER.match(flat, place.end)
    return bool(low is not high or place.start < low.start or qualified)


def is_part(flat: str, low: Numeral, high: Numeral, *, part: bool) -> bool:
    """Does what stands before a number make it another one: "iPhone 15", "1920x1080", "ID + 2 selfies"?"""
    window = max(0, low.start - WINDOW)
    ranged = low is not high and RANGE_START.search(flat, window, low.start)
    small = low is high and (read_count(low) or 0) < 1000
    alone = low is high and (read_count(low) or 0) >= LARGER_THAN_A_SET and NO_LIST.search(flat, window, low.start)
    return bool(
        (ORDINAL.search(flat, window, low.start) and not ranged)
        or (small and (read_count(low) or 0) < 100 and SMALL_ORDINAL.search(flat, window, low.start))
        or (not alone and NOT_BEFORE.search(flat, window, low.start))
        or LONGER.search(flat, window, low.start)
        or (small and not part and PLUS.search(flat, window, low.start))
    )


def find_bound(flat: str, low: Numeral, high: Numeral, place: Place) -> tuple[int, Bound]:
    """Where the words that qualify a number start, and what they say."""
    window = max(0, low.start - WINDOW)
    if qualified := find_qualifier(flat, low.start):
        start, bound = qualified
        return start, Bound.AT_LEAST if place.more and bound == Bound.ABOUT else bound
    if PLUS.search(flat, window, low.start) or place.more:
        return low.start, Bound.AT_LEAST
    return low.start, low.bound if low is high else Bound.EXACT


def find_qualifier(flat: str, end: int) -> tuple[int, Bound] | None:
    """Where the words that qualify the number at `end` start, and what they say: "no less than" is at least."""
    qualifier = QUALIFIER.search(flat, max(0, end - WINDOW), end)
    if qualifier is None:
        return None
    start, bound = qualifier.start(), Bound(str(qualifier.lastgroup))
    negated = NEGATED.search(flat, max(0, start - WINDOW), start)
    return (negated.start(), OPPOSITE[bound]) if negated and bound in OPPOSITE else (start, bound)


def find_owner(flat: str, start: int, place: Place) -> Counted:
    """Photos may be counted for each person or each set."""
    if place.of != Counted.PHOTO:
        return place.of
    window = max(0, start - WINDOW)
    if EACH_AFTER.match(flat, place.end) or EACH_BEFORE.search(flat, window, start):
        return Counted.PHOTO_PER_PERSON
    if SET_AFTER.match(flat, place.end) or SET_BEFORE.search(flat, window, start):
        return Counted.PHOTO_PER_SET
    return Counted.PHOTO_PER_PERSON if SHARED_OUT.search(flat, window, start) else Counted.PHOTO
