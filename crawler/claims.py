"""What a listing's text says besides numbers: in come texts, out come kinds of pictures, contacts, a language, dates.

Pure, never raises for what a text contains; what is found keeps the piece of the text it came from, and nothing is
guessed but the language, which says so.
"""

import datetime as dt
import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import dateparser

from crawler.numbers import LETTER, flatten

LONGEST_TEXT, MOST_FOUND = 10_000, 100


class Kind(StrEnum):
    ID_CARD_FRONT = "id_card_front"
    ID_CARD_BACK = "id_card_back"
    CARD_IN_HAND = "card_in_hand"
    SELFIE = "selfie"
    LIVENESS_VIDEO = "liveness_video"
    LIVENESS_BLINK = "liveness_blink"
    LIVENESS_NOD = "liveness_nod"
    LIVENESS_SHAKE = "liveness_shake"
    LIVENESS_MOUTH = "liveness_mouth"
    PHONE_OR_ID_NUMBER = "phone_or_id_number"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedKind:
    kind: Kind
    text: str


# Each way to say it, as a regular expression over the flattened text; ID_WORDS are the papers in five languages.
ID = (
    "(?:身份证|证件|护照|id(?: ?cards?)?|passports?|documents?|docs?|driver'?s? licen[sc]e|dl|aadhaa?r|adhaa?r"
    "|pan(?: card)?|паспорта?|документа?"
    "|dni|ine|cedula|cédula|documento|pasaporte|credencial|आधार(?: कार्ड)?|पैन(?: कार्ड)?)"
)
SIDE = "(?:side|photo|pic|part|image)?s?"
FRONT_BACK = (
    r"正反(?:两)?面|双面|(?:身份证|证件)?正面?[+/、和及]反面?|正面.{0,2}[反背]面|front ?(?:and|&|\+|/|n|,|aur"
    r"|-)? ?back|both sides|2 sides|two sides|f/b"
    r"|(?:обе|две) стороны|с (?:двух|обеих) сторон|лицевая (?:и|\+) (?:оборотная|обратная)|лицо и оборот"
    r"|(?:frente|anverso|delantera) ?(?:y|e|\+|/) ?(?:reverso|dorso|atrás|atras|trasera)|(?:ambos|dos) lados"
    r"|ambas caras|por (?:ambos|los dos) lados"
    r"|dono (?:side|taraf)|aage (?:aur )?piche|आगे (?:और )?पीछे|दोनों (?:तरफ|साइड)"
)
WAYS = {
    Kind.ID_CARD_FRONT: rf"{FRONT_BACK}|(?:身份证|证件) ?(?:人像面|正面)|{ID} ?{SIDE} ?front"
    rf"|front ?{SIDE} (?:of )?(?:the |an )?{ID}|лицевая(?: сторона)?|"
    rf"{ID} ?(?:por )?(?:el )?(?:frente|anverso|delantera)|(?:frente|anverso) del? {ID}|{ID} (?:ka |का )?(?:aage|आगे)",
    Kind.ID_CARD_BACK: rf"{FRONT_BACK}|(?:身份证|证件) ?(?:国徽面|[反背]面)|{ID} ?{SIDE} ?back"
    rf"|back ?{SIDE} (?:of )?(?:the |an )?{ID}|"
    rf"(?:оборотная|обратная)(?: сторона)?|{ID} ?(?:por )?(?:el )?(?:reverso|dorso)|(?:reverso|dorso) del? {ID}"
    rf"|{ID} (?:ka |का )?(?:piche|पीछे)",
    Kind.CARD_IN_HAND: rf"手持|手拿(?:身份证|证件)|hold(?:ing|s)? (?:the |their |his |her |an? )?{ID}"
    rf"|{ID} in (?:the )?hands?|in[ -]hand {ID}|card in hand|"
    rf"selfies? (?:with|w/|\+ ?holding|holding) ?(?:the |their |an? )?{ID}|{ID} selfies?|"
    rf"(?:селфи|фото) с (?:{ID}|паспортом|документом|документами)|(?:{ID}|паспортом|документом) в рук(?:е|ах)|"
    rf"(?:selfie|foto)s? con (?:el |su )?{ID}|(?:sosteniendo|sujetando) (?:el |su )?{ID}|{ID} en (?:la )?mano|"
    rf"haa?th me(?:in)? {ID}|{ID} haa?th me(?:in)?|हाथ में|{ID} (?:ke saath|के साथ) (?:selfie|सेल्फी)",
    Kind.SELFIE: "自拍|selfies?|selfis?|селфи|себяшк[аи]|autofotos?|सेल्फी",
    Kind.LIVENESS_BLINK: "眨眼|眨眨眼|blink(?:s|ing)?(?! of| ?-?182)|морга(?:ние|ет|ют|ть)|parpadeos?|parpade(?:a"
    "|an|ar|ando)|"
    "(?:aankh|palak)e?n? jh?apak\\w*|(?:आँख|आंख|पलक)(?:ें)? झपक",
    Kind.LIVENESS_NOD: "点头|nod(?:s|ding)?|кив(?:ок|ает|ки|ание|ают|ать)|asentir|asiente[n]?|asintiendo"
    "|sir (?:upar neeche|jhuka\\w*)|सिर झुका",
    Kind.LIVENESS_SHAKE: "摇头|左右转头|(?:head ?)shak(?:e|es|ing)|shak(?:e|es|ing) (?:of )?(?:the |their )?head"
    "|shake|turn(?:s|ing)? (?:the |their )?head|"
    "head turns?|кача(?:ет|ют|ние|ть) головой|поворот(?:ы)? головы|(?:mueven?|mover|girar?|gira) la cabeza"
    "|sir hila\\w*|सिर हिला",
    Kind.LIVENESS_MOUTH: "张嘴|张口|open(?:s|ing)? (?:the |their )?mouth|mouth (?:open(?:ing)?|movement)s?"
    "|открыва(?:ет|ют|ние|ть) (?:рот|рта)|"
    "abr(?:e|en|ir|iendo) la boca|mu(?:n)?h khol\\w*|मुँह खोल|मुंह खोल",
    Kind.LIVENESS_VIDEO: "活体|liveness|live(?:ness)? (?:selfie )?videos?|(?:selfie|face|kyc|verification) videos?"
    "|video ?selfies?|vide?o verification|人脸视频|"
    "动态视频|лайвнес|(?:живое )?видео (?:с )?(?:лицом|лица|верификации|селфи)|видеоселфи"
    "|video(?:s)? (?:de )?(?:vida|verificación|rostro|selfies?)|"
    "prueba de vida|फेस वीडियो|लाइव वीडियो",
    Kind.PHONE_OR_ID_NUMBER: rf"手机号码?|电话号码?|身份证号码?|证件号码?|银行卡号|四要素|三要素|二要素|"
    rf"(?:phone|mobile|cell|{ID}) ?(?:numbers?|nums?|nos?\.?)(?! ?(?:one|\d))|ssns?|номер(?:а|ом"
    rf"|ами)? (?:телефон(?:а|ов)|{ID})|инн|снилс|"
    rf"n(?:ú|u)meros? de (?:teléfono|telefono|celular|móvil|{ID})|curp|(?:मोबाइल|फोन|फ़ोन|आधार) (?:नंबर|नम्बर)",
}  # fmt: skip
MOTIONS = (Kind.LIVENESS_BLINK, Kind.LIVENESS_NOD, Kind.LIVENESS_SHAKE, Kind.LIVENESS_MOUTH)
SAID = {kind: re.compile(rf"(?<![{LETTER}])(?:{way})(?![{LETTER}])") for kind, way in WAYS.items()}
# what stands in every way to say it: a text without any of these is not searched for it
BOTH_SIDES = ("正", "双面", "front", "sides", "f/b", "сторон", "лиц", "frente", "anverso", "delantera", "lados",
              "caras", "dono", "aage", "आगे", "दोनों")  # fmt: skip
KIND_HINTS = {
    Kind.ID_CARD_FRONT: (*BOTH_SIDES, "人像"),
    Kind.ID_CARD_BACK: (*BOTH_SIDES, "反", "背", "国徽", "back", "обо", "обратн", "reverso", "dorso", "piche", "पीछे"),
    Kind.CARD_IN_HAND: ("手持", "手拿", "hold", "hand", "selfi", "селфи", "фото с", "в рук", " con ", "sosteniendo",
                        "sujetando", "mano", "th me", "saath", "हाथ", "साथ"),
    Kind.SELFIE: ("自拍", "selfi", "селфи", "себяшк", "autofoto", "सेल्फी"),
    Kind.LIVENESS_BLINK: ("眨", "blink", "морга", "parpade", "apak", "झपक"),
    Kind.LIVENESS_NOD: ("点头", "nod", "кив", "asent", "asient", "asint", "sir ", "सिर"),
    Kind.LIVENESS_SHAKE: ("摇头", "转头", "shak", "turn", "кача", "поворот", "cabeza", "hila", "हिला"),
    Kind.LIVENESS_MOUTH: ("张嘴", "张口", "mouth", "рот", "рта", "boca", "khol", "खोल"),
    Kind.LIVENESS_VIDEO: ("活体", "liveness", "vide", "vido", "视频", "лайвнес", "видео", "vida", "वीडियो"),
    Kind.PHONE_OR_ID_NUMBER: ("手机", "电话", "号", "要素", "num", "no", "ssn", "номер", "инн", "снилс", "mero",
                              "curp", "नंबर", "नम्बर"),
}  # fmt: skip
NOT_SAID = re.compile(  # "no selfie", "без селфи", "不含自拍"
    rf"(?:(?<![{LETTER}])(?:no|not|without|w/o|excluding|except|без|нет|не|sin|no incluye|bina|बिना)|[无没不](?:含"
    rf"|包含|带|有)?|没有|不带) ?\Z"
)
NOT_MEANT = re.compile(r" ?(?:not included|nahi|nahin|नहीं|no incluid\w+|не включен\w*|: ?\+?\d)")


def find_kinds(text: str) -> tuple[ClaimedKind, ...]:
    """The kinds of pictures and data that a text claims, each once, with the words that say so; not what it denies."""
    flat = flatten(text)[:LONGEST_TEXT]
    found: dict[Kind, str] = {}
    for kind, said in SAID.items():
        for match in said.finditer(flat) if any(hint in flat for hint in KIND_HINTS[kind]) else ():
            if NOT_SAID.search(flat, max(0, match.start() - 16), match.start()) or NOT_MEANT.match(flat, match.end()):
                continue
            found[kind] = text[match.start() : match.end()]
            break
    for motion in MOTIONS:
        if motion in found:  # a motion is seen in a video
            found.setdefault(Kind.LIVENESS_VIDEO, found[motion])
    return tuple(ClaimedKind(kind=kind, text=found[kind]) for kind in Kind if kind in found)


def list_kinds(text: str) -> frozenset[Kind]:
    return frozenset(found.kind for found in find_kinds(text))


class ContactKind(StrEnum):
    TELEGRAM = "telegram"
    WECHAT = "wechat"
    QQ = "qq"
    EMAIL = "email"
    XMPP = "xmpp"
    SESSION = "session"
    TOX = "tox"
    WHATSAPP = "whatsapp"
    PHONE = "phone"
    HANDLE = "handle"  # @name without a word that says where


@dataclass(frozen=True, kw_only=True, slots=True)
class Contact:
    """`value` is in one spelling (no @, no spaces in a number); `text` is as written, mark and all."""

    kind: ContactKind
    value: str
    text: str


WORD_START = r"(?<![A-Za-z0-9\u00c0-\u052f\u0900-\u097f])"
SEP = r"(?: ?[:=：\-→>]+ ?| ?(?:id|号|number|handle|user) ?[:：]? ?| )?"
PHONE = r"(?P<value>\+?\d(?:[ ()-]{0,2}\d){6,14})(?!\d)"
ADDRESS = r"(?P<value>[A-Za-z0-9](?:[\w.+-]{0,62}[\w+-])?@(?:[A-Za-z0-9-]{1,40}\.){1,4}[A-Za-z]{2,15})(?![\w@])"
CONTACTS = (  # the first that fits a place has it
    (ContactKind.TOX, re.compile(r"(?<![0-9A-Za-z])(?P<value>[0-9A-Fa-f]{76})(?![0-9A-Za-z])")),
    (ContactKind.SESSION, re.compile(r"(?<![0-9A-Za-z])(?P<value>05[0-9a-f]{64})(?![0-9A-Za-z])")),
    (ContactKind.TELEGRAM, re.compile(
        r"(?<![\w.])(?:https?://)?(?:t\.me|telegram\.(?:me|dog))/(?:s/|joinchat/)?(?P<value>\+?[\w-]{4,64})"
        r"|tg://resolve\?domain=(?P<value2>\w{4,32})",
        re.IGNORECASE)),
    (ContactKind.WHATSAPP, re.compile(
        r"(?:https?://)?(?:wa\.me/|api\.whatsapp\.com/send\?phone=)(?P<value>\+?\d{7,15})(?!\d)", re.IGNORECASE)),
    (ContactKind.XMPP, re.compile(rf"{WORD_START}(?:jabber|xmpp|джаббер|жабер|жаба){SEP}{ADDRESS}", re.IGNORECASE)),
    (ContactKind.XMPP, re.compile(ADDRESS.replace(r"(?:[A-Za-z0-9-]{1,40}\.){1,4}[A-Za-z]{2,15}",
        r"(?:exploit\.im|thesecure\.biz|jabb(?:er)?\.[a-z]{2,5}|xmpp\.[a-z]{2,5}|jabber\.[a-z-]{2,20}\.[a-z]{2,5}"
        r"|404\.city|conversations\.im)"),
        re.IGNORECASE)),
    (ContactKind.EMAIL, re.compile(rf"(?<![\w.+-]){ADDRESS}")),
    (ContactKind.TELEGRAM, re.compile(
        rf"(?:{WORD_START}(?:telegram|tg|telega|телеграмм?|телега|тг|टेलीग्राम)|电报|纸飞机"
        rf"|飞机){SEP}@?(?P<value>[A-Za-z]\w{{4,31}})(?![\w@.])(?<!telegram)",
        re.IGNORECASE)),
    (ContactKind.WECHAT, re.compile(
        rf"(?:{WORD_START}(?:we ?chat|weixin|vx|wx)|微信|薇信|威信|微❤|v信|加v"
        rf"|加微){SEP}(?P<value>[A-Za-z][A-Za-z0-9_-]{{5,19}}|1[3-9]\d{{9}})(?![\w-])",
        re.IGNORECASE)),
    (ContactKind.QQ, re.compile(rf"(?:{WORD_START}qq|扣扣|企鹅){SEP}(?P<value>[1-9]\d{{4,10}})(?!\d)", re.IGNORECASE)),
    (ContactKind.WHATSAPP, re.compile(
        rf"{WORD_START}(?:whats ?app|ватсапп?|вотсапп?|wsp|व्हाट्सएप|व्हाट्सऐप){SEP}{PHONE}", re.IGNORECASE)),
    (ContactKind.PHONE, re.compile(
        rf"(?:{WORD_START}(?:phone|tel|mobile|call(?: us)?|mob|тел|телефон|móvil|teléfono|telefono|celular|cel|фон"
        rf"|मोबाइल|फोन|फ़ोन)|手机|电话|联系电话){SEP}"
        rf"\.?(?: ?(?:no|number|номер)\.?:?)? ?{PHONE}", re.IGNORECASE)),
    (ContactKind.HANDLE, re.compile(r"(?<![\w.@/+-])@(?P<value>[A-Za-z]\w{4,31})(?![\w@]|\.\w)")),
)  # fmt: skip
HINTS = {  # one of these letters must be there at all, which is much cheaper to see
    ContactKind.TELEGRAM: ("t.me", "telegram", "tg", "telega", "телега", "телеграм", "тг", "टेलीग्राम",
                           "电报", "飞机"),
    ContactKind.WHATSAPP: ("wa.me", "whats", "ватсап", "вотсап", "wsp", "व्हाट्स"),
    ContactKind.XMPP: ("jabb", "xmpp", "джаб", "жаб", "exploit.im", "thesecure", "404.city", "conversations.im"),
    ContactKind.EMAIL: ("@",), ContactKind.HANDLE: ("@",),
    ContactKind.WECHAT: ("chat", "weixin", "vx", "wx", "微", "薇信", "威信", "v信", "加v"),
    ContactKind.QQ: ("qq", "扣扣", "企鹅"),
    ContactKind.PHONE: ("phone", "tel", "mob", "call", "тел", "фон", "móvil", "teléfono", "cel", "मोबाइल", "फोन",
                        "फ़ोन", "手机", "电话"),
}  # fmt: skip
KEYS, KEY_LENGTH = (ContactKind.TOX, ContactKind.SESSION), 64  # long words, which are as cheap to see
PLAIN_KINDS = (ContactKind.PHONE, ContactKind.WHATSAPP)
NO_NAMES = frozenset(
    ("channel", "group", "contact", "support", "seller", "available", "number", "telegram", "please", "photos", "faces")
)


def find_contacts(text: str) -> tuple[Contact, ...]:
    """How to reach the seller, in the order of the text. A bare number is no contact; a word must say what it is."""
    flat = text[:LONGEST_TEXT]
    low = flat.lower()
    longest = max(map(len, low.split()), default=0)
    taken: list[tuple[int, int, Contact]] = []
    for kind, pattern in CONTACTS:
        if not (longest >= KEY_LENGTH if kind in KEYS else any(hint in low for hint in HINTS[kind])):
            continue
        for match in pattern.finditer(flat):
            start, end = match.span()
            value = match["value"] or match["value2"]
            free = all(end <= other_start or other_end <= start for other_start, other_end, _contact in taken)
            if free and value.lower() not in NO_NAMES and len(taken) < MOST_FOUND:
                value = re.sub(r"[^\d+]", "", value) if kind in PLAIN_KINDS else value
                taken.append((start, end, Contact(kind=kind, value=value, text=match[0])))
    return tuple(contact for _start, _end, contact in sorted(taken, key=lambda each: each[:2]))


class Language(StrEnum):
    ZH = "zh"
    EN = "en"
    RU = "ru"
    ES = "es"
    HI = "hi"  # in Devanagari or in Latin letters
    OTHER = "other"


SCRIPTS = (("kana", "\u3040", "\u30ff"), ("han", "\u3400", "\u9fff"), ("devanagari", "\u0900", "\u097f"),
           ("cyrillic", "\u0400", "\u052f"), ("latin", "A", "\u024f"))  # fmt: skip
STOP_WORDS = {
    Language.EN: """the a an of and with for in on to from is are all you your this that only per each photos faces
        face people photo fresh sale selling real price dataset pictures buy new verified""",
    Language.ES: """el la los las de del y con para por en un una que es son más mas fotos caras rostros personas
        venta vendo precio reales cada sin datos base millón mil hasta""",
    Language.HI: """hai hain ka ki ke ko se mein aur nahi nahin wala wale bhai ek saath chehre log logon hazaar
        hazar lakh crore kya sirf bahut rupaye sasta milega chahiye har asli""",
}
NOT_RUSSIAN = re.compile("[іїєґўљњћђџј]", re.IGNORECASE)
NOT_HINDI = re.compile("[ळऑ]{2}|आहे|आणि|छ।|भएको")  # Marathi and Nepali words
STOPS = {language: frozenset(words.split()) for language, words in STOP_WORDS.items()}
LEAST_LETTERS, LEAST_SHARE = 4, 0.6
ENOUGH_TEXT = 1000  # letters that tell a language
HAN_WEIGHT = 3  # a Chinese character says as much as a few letters


def guess_language(text: str) -> Language | None:
    """A guess from scripts and common words; None for little text, a mixture, or Latin letters without a known word."""
    text = text[:ENOUGH_TEXT]
    letters = Counter[str]()
    for char, times in Counter(text).items():
        if char.isalpha():
            letters[_name_script(char)] += times
    letters["han"] *= HAN_WEIGHT
    script, most = letters.most_common(1)[0]
    if most < LEAST_LETTERS or most < LEAST_SHARE * letters.total():
        return Language.OTHER if letters["kana"] >= LEAST_LETTERS else None
    if script == "han":
        return Language.OTHER if letters["kana"] else Language.ZH
    if script == "devanagari":
        return Language.OTHER if NOT_HINDI.search(text) else Language.HI
    if script == "cyrillic":
        return Language.OTHER if NOT_RUSSIAN.search(text) else Language.RU
    return _guess_from_words(text) if script == "latin" else Language.OTHER


@functools.lru_cache(maxsize=4096)
def _name_script(char: str) -> str:
    return next((name for name, first, last in SCRIPTS if first <= char <= last), "other")


def _guess_from_words(text: str) -> Language | None:
    words = re.findall(r"[^\W\d_]+", text.lower())
    hits = {language: sum(word in stop for word in words) for language, stop in STOPS.items()}
    first, second = sorted(hits, key=lambda each: hits[each], reverse=True)[:2]
    return first if hits[first] > hits[second] else None


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundDate:
    day: dt.date
    text: str


FIRST_YEAR = 1995  # of the web's markets
MOST_YEARS_AHEAD = 5
MONTHS = (
    "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|янв|фев|мар|апр|ма[яй]|июн|июл|авг|сен|окт|ноя|дек|ene|abr"
    "|ago|dic|"
    "जन|फर|फ़र|मार्च|अप्रै|मई|जून|जुला|अग|सित|अक्|अक्टू|नव|दिस"
)
DAY = "(?:0?[1-9]|[12][0-9]|3[01])"
DATES = re.compile(
    rf"""(?<![\d.])(?:
        (?P<year>\d{{4}})(?P<between>[-/.年])(?P<month>\d{{1,2}})(?:(?<!年\d)(?<!年\d\d)(?P=between)|月)(?P<day>\d{{1,2}})日?
      | (?P<left>\d{{1,2}})(?P<mark>[./-])(?P<right>\d{{1,2}})(?P=mark)(?P<year2>\d{{4}})
      | (?P<words>{DAY}(?:st|nd|rd|th)?[ ](?:de[ ])?(?:{MONTHS})[^\W\d_\u4e00-\u9fff]*[.,]?[ ](?:de[ ])?\d{{4}}
        |(?<![^\W\d_])(?:{MONTHS})[^\W\d_]*\.?[ ]{DAY}(?:st|nd|rd|th)?,?[ ]\d{{4}})
    )(?![\d]|\.\d)""",
    re.VERBOSE | re.IGNORECASE,
)
YEAR_DIGITS = re.compile(r"\d(?<!\d\d)\d{3}(?!\d)")  # a digit first: then only digits are looked at
BEFORE_YEAR, AFTER_YEAR = 30, 12  # characters within which the rest of a date stands
STRICT = {
    "STRICT_PARSING": True,
    "REQUIRE_PARTS": ["day", "month", "year"],
    "DATE_ORDER": "DMY",
    "PREFER_LOCALE_DATE_ORDER": False,
}
LANGUAGES = ["en", "ru", "es", "hi"]
AGO = re.compile(
    rf"(?<![{LETTER}\d])(?:(?P<today>today|сегодня|hoy|今天|aaj|आज)|(?P<yesterday>yesterday|вчера|ayer|昨天|कल रात)"
    rf"|(?P<n>\d{{1,3}}) ?(?P<unit>days?|weeks?|дней|дня|день|недел[юиь]|天|周|din|दिन) ?(?:ago|назад|前|pehle|पहले)"
    rf"|hace (?P<n2>\d{{1,3}}) (?P<unit2>días?|dias?|semanas?))(?![{LETTER}])"
)
AGO_HINTS = (  # one of them must be there at all
    *("ago", "назад", "前", "pehle", "पहले", "hace ", "today", "сегодня", "hoy", "今天", "aaj", "आज"),
    *("yesterday", "вчера", "ayer", "昨天", "कल"),
)
WEEKS = ("week", "недел", "周", "semana")


def find_dates(text: str, *, seen: dt.date | None = None) -> tuple[FoundDate, ...]:
    """The days a text names in full; 03/04/2026 could be two days and is none, nor are years before 1995 or far ahead.

    `seen` is the day the page was fetched: with it "yesterday" and "3 days ago" are days too, and "far ahead" is
    measured from it.
    """
    found: dict[tuple[int, int], FoundDate] = {}
    for match in _find_written(text[:LONGEST_TEXT]):
        day = _read_date(match)
        if day is not None and _is_plausible(day, seen) and len(found) < MOST_FOUND:
            found[match.span()] = FoundDate(day=day, text=match[0])
    flat = flatten(text)[:LONGEST_TEXT] if seen is not None else ""
    for match in AGO.finditer(flat) if any(hint in flat for hint in AGO_HINTS) else ():
        assert seen is not None
        day = _count_back(match, seen)
        if len(found) < MOST_FOUND:
            found[match.span()] = FoundDate(day=day, text=text[match.start() : match.end()])
    return tuple(found[place] for place in sorted(found))


def parse_date(text: str, *, seen: dt.date | None = None) -> dt.date | None:
    """The one day that a text names; None if it names none, or several."""
    days = {found.day for found in find_dates(text, seen=seen)}
    return days.pop() if len(days) == 1 else None


def _find_written(text: str) -> Iterator[re.Match[str]]:
    """Every date, looked for around years only."""
    done = 0
    for year in YEAR_DIGITS.finditer(text):
        place = DATES.search(text, max(done, year.start() - BEFORE_YEAR), min(len(text), year.end() + AFTER_YEAR))
        if place is not None:
            done = place.end()
            yield place


@functools.lru_cache(maxsize=1024)  # a page's dates are much alike, and dateparser takes a millisecond
def _read_words(words: str) -> dt.date | None:
    when = dateparser.parse(words, languages=LANGUAGES, settings=STRICT)
    return dt.date(when.year, when.month, when.day) if when else None


def _read_date(match: re.Match[str]) -> dt.date | None:
    if match["words"]:
        return _read_words(match["words"])
    if match["year"]:
        return _make_date(match["year"], match["month"], match["day"])
    left, right = match["left"], match["right"]
    if match["mark"] == "." or left == right or int(left) > 12:  # dots are written where the day comes first
        return _make_date(match["year2"], right, left)
    return _make_date(match["year2"], left, right) if int(right) > 12 else None


def _make_date(year: str, month: str, day: str) -> dt.date | None:
    try:
        return dt.date(int(year), int(month), int(day))
    except ValueError:
        return None


def _is_plausible(day: dt.date, seen: dt.date | None) -> bool:
    last = seen.year + MOST_YEARS_AHEAD if seen else 2099
    return FIRST_YEAR <= day.year <= last


def _count_back(match: re.Match[str], seen: dt.date) -> dt.date:
    unit = match["unit"] or match["unit2"] or ""
    days = int(match["n"] or match["n2"] or (1 if match["yesterday"] else 0)) * (7 if unit.startswith(WEEKS) else 1)
    return seen - dt.timedelta(days=days)
