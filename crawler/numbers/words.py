"""The words of numbers in English, Spanish, Russian and Hindi: what each is worth. Chinese is in numerals.py."""

import re
from decimal import Decimal

SCALES = {
    100: "百 hundred hundreds sau सौ сотня сотни сотен сотню cientos_de centenares_de",
    1000: """千 thousand thousands thsd k к тыс. тыс тысяч тысячи тысяча тысячу тыщ тыщи mil miles_de
        hazar hazaar hajar hajaar हजार हज़ार""",
    10_000: "万 w",
    100_000: "十万 lakh lakhs laakh lac lacs लाख",
    10**6: """百万 m mm mn mln million millions mio млн. млн миллион миллиона миллионов кк
        лям ляма лямов millón millon millones""",
    10**7: "千万 crore crores karod karor cr करोड़",
    10**8: "亿",
    10**9: "billion bn млрд млрд. миллиард миллиарда миллиардов",
}  # fmt: skip
TIGHT = {"l": 100_000, "т": 1000, "т.": 1000}  # only where they touch the digits: 2L faces, 70т. фото
ENGLISH = {
    1: "one a an", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten",
    11: "eleven", 12: "twelve", 13: "thirteen", 14: "fourteen", 15: "fifteen", 16: "sixteen", 17: "seventeen",
    18: "eighteen", 19: "nineteen", 20: "twenty", 30: "thirty", 40: "forty fourty", 50: "fifty", 60: "sixty",
    70: "seventy", 80: "eighty", 90: "ninety",
}  # fmt: skip
SPANISH = {
    1: "un una", 2: "dos", 3: "tres", 4: "cuatro", 5: "cinco", 6: "seis", 7: "siete", 8: "ocho", 9: "nueve",
    10: "diez", 11: "once", 12: "doce", 13: "trece", 14: "catorce", 15: "quince", 16: "dieciséis dieciseis",
    17: "diecisiete", 18: "dieciocho", 19: "diecinueve", 20: "veinte",
    21: "veintiuno veintiuna veintiún veintiun", 22: "veintidós veintidos", 23: "veintitrés veintitres",
    24: "veinticuatro", 25: "veinticinco", 26: "veintiséis veintiseis", 27: "veintisiete", 28: "veintiocho",
    29: "veintinueve", 30: "treinta", 40: "cuarenta", 50: "cincuenta", 60: "sesenta", 70: "setenta", 80: "ochenta",
    90: "noventa", 100: "cien ciento", 200: "doscientos doscientas", 300: "trescientos trescientas",
    400: "cuatrocientos cuatrocientas", 500: "quinientos quinientas", 600: "seiscientos seiscientas",
    700: "setecientos setecientas", 800: "ochocientos ochocientas", 900: "novecientos novecientas",
}  # fmt: skip
RUSSIAN = {  # with the genitive, which stands after more than, about and up to
    1: "один одна одну", 2: "два две двух", 3: "три трех", 4: "четыре четырех", 5: "пять пяти", 6: "шесть шести",
    7: "семь семи", 8: "восемь восьми", 9: "девять девяти", 10: "десять десяти", 11: "одиннадцать одиннадцати",
    12: "двенадцать двенадцати", 13: "тринадцать тринадцати", 14: "четырнадцать четырнадцати",
    15: "пятнадцать пятнадцати", 16: "шестнадцать шестнадцати", 17: "семнадцать семнадцати",
    18: "восемнадцать восемнадцати", 19: "девятнадцать девятнадцати", 20: "двадцать двадцати",
    30: "тридцать тридцати", 40: "сорок сорока", 50: "пятьдесят пятидесяти", 60: "шестьдесят шестидесяти",
    70: "семьдесят семидесяти", 80: "восемьдесят восьмидесяти", 90: "девяносто девяноста", 100: "сто ста",
    200: "двести двухсот", 300: "триста трехсот", 400: "четыреста четырехсот", 500: "пятьсот пятисот",
    600: "шестьсот шестисот", 700: "семьсот семисот", 800: "восемьсот восьмисот", 900: "девятьсот девятисот",
}  # fmt: skip
HINDI = """ek|do|teen|chaar|paanch/panch|chhe/chhah/chhai/cheh|saat|aath|nau|das/dus|gyaarah/gyarah|baarah|terah|chaudah
    |pandrah|solah|satrah|athaarah/atharah|unnees|bees|ikkees|baais|teis|chaubees|pachchees/pachees|chhabbees|sattaais
    |atthaais|untees|tees|iktees/ikattees|battees|taintees|chauntees|paintees|chhattees|saintees|adtees|untaalees
    |chaalees|iktaalees|bayaalees|taintaalees|chavaalees|paintaalees|chhiyaalees|saintaalees|adtaalees|unchaas|pachaas
    |ikyaavan|baavan|tirpan|chauvan|pachpan|chhappan|sattaavan|atthaavan|unsath|saath|iksath|baasath|tirsath|chaunsath
    |painsath|chhiyaasath|sadsath|adsath|unhattar|sattar|ikhattar|bahattar|tihattar|chauhattar|pachhattar/pachattar
    |chhihattar|sathattar|athhattar|unaasi|assi|ikyaasi|bayaasi|tiraasi|chauraasi|pachaasi|chhiyaasi|sataasi|athaasi
    |navaasi|nabbe|ikyaanve|baanve|tiraanve|chauraanve|pachaanve/panchaanve|chhiyaanve|sattaanve|atthaanve|ninyaanve"""
DEVANAGARI = """एक|दो|तीन|चार|पांच/पाँच|छह/छः/छे|सात|आठ|नौ|दस|ग्यारह|बारह|तेरह|चौदह
    |पंद्रह/पन्द्रह|सोलह|सत्रह|अठारह|उन्नीस|बीस|इक्कीस|बाईस/बाइस|तेईस/तेइस|चौबीस|पच्चीस
    |छब्बीस|सत्ताईस|अट्ठाईस/अठ्ठाईस|उनतीस|तीस|इकतीस/इकत्तीस|बत्तीस|तैंतीस|चौंतीस|पैंतीस
    |छत्तीस|सैंतीस|अड़तीस|उनतालीस|चालीस|इकतालीस|बयालीस|तैंतालीस|चवालीस/चौवालीस|पैंतालीस
    |छियालीस|सैंतालीस|अड़तालीस|उनचास|पचास|इक्यावन|बावन|तिरपन|चौवन|पचपन|छप्पन|सत्तावन
    |अट्ठावन/अठावन|उनसठ|साठ|इकसठ|बासठ|तिरसठ|चौंसठ|पैंसठ|छियासठ|सड़सठ|अड़सठ|उनहत्तर|सत्तर
    |इकहत्तर|बहत्तर|तिहत्तर|चौहत्तर|पचहत्तर|छिहत्तर|सतहत्तर|अठहत्तर|उन्नासी|अस्सी
    |इक्यासी|बयासी|तिरासी|चौरासी|पचासी|छियासी|सतासी|अठासी|नवासी|नब्बे|इक्यानवे|बानवे
    |तिरानवे|चौरानवे|पंचानवे|छियानवे|सत्तानवे|अट्ठानवे|निन्यानवे"""
PARTS = {
    "0.25": """a_quarter_of_a quarter_of_a a_quarter quarter четверть un_cuarto_de cuarto_de पाव paav""",
    "0.5": "half half_a a_half medio media пол половиной половина aadha आधा",
    "0.75": "three_quarters_of_a three_quarters tres_cuartos_de три_четверти pauna पौना",
    "1.5": "полтора полторы полутора dedh derh deedh डेढ़",
    "2.5": "dhai dhaai adhai ढाई अढ़ाई",
}
SHIFTS = {
    "0.5": "saadhe sadhe saade sade साढ़े",
    "0.25": "sawa sava savaa सवा",
    "-0.25": "paune pone पौने",
}  # of what follows
COUPLES = """a_couple_of a_couple couple_of couple un_par_de par_de пара пару парочка парочку"""  # two or so
ALONE = {"mil": 1000, "тысяча": 1000, "полмиллиона": 500_000, "миллион": 10**6}  # a number without another word
NUKTAS = {"ड\u093c": "\u095c", "ढ\u093c": "\u095d", "ज\u093c": "\u095b"}


def spell(words: str, *, latin: bool = False) -> list[str]:
    """Each word in its spellings: Devanagari's dotted letters are written in two ways; in Latin letters long vowels
    of Hindi are written once or twice."""
    found: dict[str, None] = {}
    for word in words.split():
        each = [word.replace("_", " ")]
        for apart, whole in NUKTAS.items():
            each += [one.replace(apart, whole) for one in each] + [one.replace(whole, apart) for one in each]
        for long, short in (("aa", "a"), ("ee", "i"), ("chh", "ch")) if latin else ():
            each += [one.replace(long, short) for one in each]
        found |= dict.fromkeys(each)
    return list(found)


def value_words(table: dict[str, str] | dict[int, str], *, latin: bool = False) -> dict[str, Decimal]:
    return {word: Decimal(value) for value, words in table.items() for word in spell(words, latin=latin)}


def count_up(listed: str) -> dict[int, str]:
    """A list of the words from one on."""
    return {at: words.replace("/", " ") for at, words in enumerate(re.sub(r"\s", "", listed).split("|"), 1)}


SCALE_OF = value_words(SCALES) | {word: Decimal(value) for word, value in TIGHT.items()}
WORD_OF = value_words(count_up(HINDI), latin=True) | value_words(count_up(DEVANAGARI))
WORD_OF |= value_words(ENGLISH) | value_words(SPANISH) | value_words(RUSSIAN) | value_words(PARTS)
FALSE_FRIENDS = frozenset(("once", *value_words(count_up(HINDI), latin=True)))  # "once dollars", "do euros"
SHIFT_OF = value_words(SHIFTS)
COUPLE_OF = dict.fromkeys(spell(COUPLES), Decimal(2))
ALONE |= {word: int(value) for word, value in WORD_OF.items() if value >= 100}
ARTICLES = ("a", "an", "un", "una")
