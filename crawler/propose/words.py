"""What words in class names, labels and addresses mean on shops, forums and galleries, in the languages we meet."""

import re
from collections.abc import Iterable


def pick(text: str) -> frozenset[str]:
    return frozenset(text.split())


TITLE = pick("""title subject topic thread headline name heading product""")
LISTED = pick("""title subject topic thread headline name product item offer listing goods lot entry photo""")
PERSON = pick(
    """author authors user users username userid member members profile poster nick nickname seller sellers vendor
    vendors merchant memberlist people store"""
)
SELLER = pick("""seller vendor merchant author username poster nick nickname shopname storename uploader""")
POST = pick("""post posts comment comments message messages reply replies answer postcontainer msg""")
OPINION = pick("""review reviews rating ratings feedback feedbacks testimonial testimonials""")
BODY = pick("""content body text message bbcode cooked postbody said description desc entry msg detail""")
NO_BODY = pick(
    """signature sig quote blockquote footer meta date time actions attachments attachment copyright powered credits"""
)
SMALL = pick(
    """avatar avatars icons attachtypes smileys ranks emoji smiley smilies smile icon ico logo flag badge sprite rank
    payment captcha spacer pixel button btn gravatar userpic cart star stars rating banner ad ads tracking"""
)
PICTURE = pick("""gallery image images photo picture img main large zoom slider swiper attach attachment""")
STRIP = pick("""indicators thumbs thumbnails thumbnav thumblist""")  # the same pictures once more, smaller
SIDE = pick(
    """nav navbar navigation menu sidebar footer breadcrumb breadcrumbs crumb pagination pager paginator paging toolbar
    cookie cookies social share login dropdown offcanvas modal minicart topbar pagenav widget navbits stats"""
)
PAGER = pick("""pagination pager paginator paging pagenav pages page pagelist pagenavi pagebar multipage""")
BESIDE = pick("""related similar recommended recommend upsell upsells crosssell suggested recent also""")
ACTIONS = pick(
    """reply quote report login logout register signup signin share cart wishlist compare edit delete search rss feed
    print help faq terms privacy contact post publish newthread posting lost password sort order flag like lastpost
    last unread newest category categories tag tags"""
)
PRICE = pick("""price cost amount money preis precio prix""")
OLD_PRICE = pick("""old was del before compare original strike crossed shipping saving save""")
STATE = pick(
    """active current selected first last odd even hover open opened closed new unread read sticky locked pinned hidden
    visible show visited loading loaded disabled lazy lazyload lazyloaded hot alt instock outofstock onsale sale
    featured clearfix"""
)
NEXT = re.compile(
    r"^[\s\W]*(next( page)?|older( posts| entries)?|load more|more|下一页|下一頁|下页|后页|后一页|次へ|次のページ|次|"
    r"след(ующая|\.|ующие)?( страница)?|вперед|вперёд|дальше|далее|siguientes?|suivante?|weiter|nächste( seite)?|"
    r"pr[óo]xim[oa]|seguinte|avanti|successiv[oa]|volgende|następna|sonraki|다음|التالي|अगला|tiếp|berikutnya)[\s\W]*$",
    re.IGNORECASE,
)
NEXT_MARKS = frozenset({"›", "»", ">", ">>", "→", "⟩", "▶", "❯"})
NEXT_WORDS = pick("""next older pagenext nextpage nxt pageright""")
RIGHT_WORDS = pick("""right forward next""")
BEFORE_WORDS = pick("""prev previous left back newer first""")
PAGE_WORDS = pick(
    """page p pg paged pn start st offset from seite pagina página pageno pagenum index html htm php s skip limit
    currentpage strona sayfa"""
)
SELLER_LABEL = re.compile(
    r"(?:^|(?<=[\s(|>·•,;]))(seller|sold by|vendor|posted by|uploaded by|author|shop|store|卖家|賣家|店铺|店家|"
    r"掌柜|商家|发布者|продавец|автор|магазин|vendedor|vendido por|verkäufer|anbieter|vendeur|विक्रेता)\s*[:：]?\s*$",
    re.IGNORECASE,
)
DESCRIPTION_LABEL = re.compile(
    r"((product|item|full|short) )?(descriptions?|details)|about this (item|product)|"
    r"(商品|产品|詳細)?(描述|详情|介绍|說明|说明)|(полное )?описание( товара)?|"
    r"descripci[óo]n( del (producto|artículo))?|descrição|(produkt)?beschreibung|विवरण",
    re.IGNORECASE,
)
IMAGE_ENDS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif")
ARCHIVE_ENDS = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".xz", ".zst", ".bz2")
PLACEHOLDER = re.compile(r"^data:|blank|placeholder|spacer|loading|lazy|pixel|transparent|1x1|grey\.|gray\.", re.I)
# Where sites that load pictures late keep the real address; the larger picture first.
IMAGE_ATTRIBUTES = (
    "data-large_image", "data-zoom-image", "data-full", "data-full-src", "data-original", "data-src", "data-lazy-src",
    "data-lazy", "data-url", "data-image", "src",
)  # fmt: skip

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
HASHED = re.compile(
    r"^(css|sc|jss|jsx|svelte|emotion|styled|styles|makestyles|_)-?_?(?=\w*\d)[\w-]{4,}$|^[0-9a-f]{6,}$"
    r"|__[A-Za-z0-9_-]*\d[A-Za-z0-9_-]*$",
    re.IGNORECASE,
)
NUMBERED = re.compile(r"\d$|[-_]\d+[-_]|^\d")
MIXED = re.compile(r"(?=.*\d)(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9]{5,}$|^(?=(.*\d){2})(?=.*[a-z])[a-z0-9]{5,}$")
ONE_ITEM = re.compile(r"^(\w+_)?(cat|tag|category|author|prefix)[-_]|^status-", re.IGNORECASE)  # what one item has
UTILITY = re.compile(
    r"^(col|row|grid|flex|d|m[trblxy]?|p[trblxy]?|w|h|text|bg|float|pull|align|justify|items|gap|span|left|right|"
    r"center|clear|container|wrapper|inner|outer|box|block|inline|small|large|xs|sm|md|lg|xl|hidden|rounded|border|"
    r"shadow|font|relative|absolute|mb|mt)([-_:/].*)?$|[:/\[\]]",
    re.IGNORECASE,
)


def split_words(*texts: str) -> frozenset[str]:
    """The lower-case words of names: `postBody-main` gives post, body, main (and postbody)."""
    found: set[str] = set()
    for text in texts:
        for part in re.split(r"[^A-Za-z0-9]+", text[:200]):
            found.add(part.lower())
            found.update(word.lower() for word in WORD.findall(part))
    found.discard("")
    return frozenset(found)


def is_stable_class(name: str) -> bool:
    """Will this class be there tomorrow, on the next item? Not numbered, hashed, or the state of one item."""
    if not 2 <= len(name) <= 60 or not re.match(r"[A-Za-z_-]", name):
        return False
    if NUMBERED.search(name) or HASHED.search(name) or MIXED.search(name):
        return False
    if ONE_ITEM.match(name):
        return False
    words = split_words(name)
    return name.lower() not in STATE and not name.startswith(("is-", "has-", "js-")) and not words <= STATE


def keep_stable(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if is_stable_class(name)))
