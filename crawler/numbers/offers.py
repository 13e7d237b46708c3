"""In comes a plain text, out comes which of its prices is the offer, and what it asks where no currency stands."""

import re

from crawler.numbers.numerals import Numeral
from crawler.numbers.text import LETTER, LONGEST_TEXT, NOT_LETTER, WINDOW, Lazy, alternate

OLD = alternate(
    """原价 市场价 门市价 专柜价 吊牌价 原售价 之前 以前 was before old_price original_price originally
        regular_price regularly  list_price rrp msrp mrp usual_price usually normally antes antes_era
        precio_anterior precio_original precio_normal старая_цена прежняя_цена обычная_цена раньше было
        была стоило стоила pehle pahle purana_rate asli_price पहले पुरानी_कीमत"""
)
NOW = alternate(
    """现价 现在 特价 促销价 活动价 优惠价 折后价 折后 今日价 到手价 秒杀价 now now_only now_just offer_price
        sale_price sale current_price new_price our_price today today_only deal_price ahora ahora_solo hoy
        precio_actual precio_oferta precio_de_oferta oferta сейчас теперь стало новая_цена цена_сейчас
        со_скидкой сегодня ab abhi aaj offer अब अभी आज ऑफर"""
)
PRICE_IS = (
    r"(?:(?: ?(?:price|rate|价格?|цена|precio|sirf|only|just|solo|всего|只要|仅需|仅|hai|is"
    r"|за|a|at|for|por)){0,2}[ :=-]{0,3})"
)
OLD_BEFORE = Lazy(rf"(?<![{LETTER}])(?:{OLD}){PRICE_IS}\Z")
NOW_BEFORE = Lazy(rf"(?<![{LETTER}])(?:{NOW}){PRICE_IS}\Z")
EITHER_IS_WELCOME = Lazy(
    rf"(?<![{LETTER}])(?:(?:dono|donon|koi_bhi)(?: \w+)? (?:chalega|chalenge|ok|theek)"
    rf"|either(?: is)? (?:ok|fine|works|one)"
    rf"|both (?:ok|fine|accepted|work)|as you prefer|cualquiera|como prefieras|ambos|me sirven|любой|любая|как удобно"
    rf"|без разницы|दोनों चलेगा){NOT_LETTER}|都可以?|均可|都行|任选|都收|皆可"
)
BETWEEN_TWO = re.compile(r" ?(?:[,/|;]|or|ya|o|или|либо|या|或者?|也可|=)? ?")
GIVEN = Lazy(
    rf"(?<![{LETTER}-])(?:free (?:to )?(?:download|downloads|giveaway|take|for all|for everyone|of charge|dataset"
    rf"|database|leak|dump)|(?:for|totally|completely|absolutely|entirely|all|100%|its|is) free|giving (?:it )?away"
    rf"|(?:bilkul |ek ?dam |poora |pura |sab )?(?:free|muft|फ्री|मुफ्त|मुफ़्त) (?:mein|me|mai|m|में|hai|है)"
    rf"|bilkul (?:free|muft)"
    rf"|muft|मुफ्त|मुफ़्त|gratis|gratuit[oa]s?|sin costo|de regalo|regalo todo|бесплатно|безвозмездно|даром|отдам даром"
    rf"){NOT_LETTER}|免费(?:分享|下载|送|领|赠|公开|发|提供|获取|拿|自取|给)|(?:全部|完全|全|永久)免费"
    r"|无偿(?:分享|提供)|白送"
    rf"|\A(?:price|цена|precio|价格|价)?[ :=]*(?:free|免费|फ्री)[ !.]*\Z"
)
NOT_ALL = alternate(
    """sample samples preview trial demo test shipping delivery support update updates bonus first buy extra
        consultation royalty gift with_purchase every muestra muestras prueba envío envio entrega soporte
        actualizaciones actualización primeros primeras compra comprando cada пример примеры образец образцы
        проба пробник тест доставка обновления обновление поддержка первые первый первым бонус при_покупке
        namuna saath pehle pehli sath नमूना plus not no nothing isn't never nada
        lleva if si para_clientes members miembros suscriptores vip premium clientes
        если при
    подписчикам подписке agar kharidne не ничего нет nahi नहीं price
        paid"""
)
NOT_GIVEN = Lazy(  # a sample, the shipping, or a part of what is sold
    rf"(?<![{LETTER}])(?:{NOT_ALL}){NOT_LETTER}"
    r"|\d ?(?:gratis|free|бесплатно|muft|免费)|\+ ?\d|\dx\d|样[本品图例]|试|前\d"
    r"|包邮|运费|邮费|送货|更新|售后|赠送|买|首"
    r"|不免费|非免费|会员"
    r"|前[一二三四五六七八九十百两]|不是免费"
)
ASKED = Lazy(
    rf"(?<![{LETTER}])(?<!was )(?<!were )"
    rf"(?:asking(?: price)?(?: is)?|selling (?:it |all )?for|yours for|all for|everything for"
    rf"|the lot for"
    rf"|letting (?:it )?go (?:for|at)|прошу|отдам(?: все)? за|продам(?: все)? за|все за|pido|vendo todo (?:por|en|a)"
    rf"|lo dejo en|todo por|sab ke liye|सब के लिए)[ :]{{1,2}}\Z"
    rf"|(?:打包价?|一口价|总价|全要|只要)[ :]?\Z"
)
ASKED_AFTER = Lazy(
    rf" (?:for (?:all|everything|the (?:lot|whole|full|entire|pack|set|bundle))(?: (?:of )?(?:the )?[a-z]{{1,12}})?"
    rf"|takes (?:it|all|everything|them)(?: all)?|obo|за (?:все|весь|всю)(?: [а-я]{{1,10}})?"
    rf"|por todo(?: el [a-z]{{1,10}})?|(?:mein|me|में) (?:sab|pura|poora|saara|sara|सब|पूरा|सारा)){NOT_LETTER}"
    rf"|(?:全要|全部?拿走|全部?带走|打包(?:带走|拿走)|全拿|包圆|通走|一起拿)"
)
ASKED_END = Lazy(r" ?(?:[.!。]? ?\Z|[,;|()\n])(?! ?\d)")


STANDS_ALONE = re.compile(r"\A ?\Z|[,:;.|(!\n，。] ?\Z")
YEAR = re.compile(r"(?:19|20)\d\d")
LONGEST_ASKED = 7  # characters; a longer one may be somebody's telephone


def choose_current(flat: str, starts: list[int]) -> list[int] | None:
    """Which of the prices at `starts` are asked now; None where one that is past stands alone."""
    rest = [at for at, start in enumerate(starts) if not OLD_BEFORE.search(flat, max(0, start - WINDOW), start)]
    return rest or None


def is_current(flat: str, start: int) -> bool:
    return NOW_BEFORE.search(flat, max(0, start - WINDOW), start) is not None


def find_given(flat: str) -> tuple[int, int] | None:
    """Where it says that all of it is given for nothing."""
    short = flat[:LONGEST_TEXT]
    given = GIVEN.search(short)
    return given.span() if given and not NOT_GIVEN.search(short) else None


def find_asked(flat: str, numerals: list[Numeral]) -> tuple[int, int, Numeral] | None:
    """A number that nothing but the words around it makes a price: "asking 250 for all". Where, and which."""
    found: list[tuple[int, int, Numeral]] = []
    for numeral in numerals:
        before = ASKED.search(flat, max(0, numeral.start - WINDOW), numeral.start)
        after = ASKED_AFTER.match(flat, numeral.end)
        fits = STANDS_ALONE.search(flat, max(0, numeral.start - WINDOW), numeral.start) is not None
        if YEAR.fullmatch(numeral.digits) or len(numeral.digits) > LONGEST_ASKED:
            continue
        if after and not before and not fits:  # a second one, or the count of something
            return None
        if (before and (after or ASKED_END.match(flat, numeral.end))) or (after and fits):
            start = before.start() if before else numeral.start
            found.append((start, after.end() if after else numeral.end, numeral))
    return found[0] if len(found) == 1 else None
