"""A listing of the texts that stood there, whatever kind of source they came from. Pure.

Numbers, prices, kinds, contacts, dates and passwords are read from them; every value keeps its text, and what cannot be
read is named.
"""

import datetime as dt
import re
from collections.abc import Iterable, Sequence

from crawler.claims import guess_language
from crawler.inside import hide_pictures
from crawler.numbers import (
    Claim,
    Counted,
    Totals,
    find_money,
    find_price,
    parse_price,
    price_of_one,
    read_claims,
    sum_up,
)
from crawler.said import (
    DESCRIBED,
    MOST_PASSWORDS,
    find_passwords,
    list_contacts,
    list_counts,
    list_dates,
    list_kinds,
)
from vault.log import clean_text
from vault.records import Listing

SOLD = re.compile(
    r"\bsold\b(?! by)|out of stock|已售(?!\d)|售罄|卖完|已卖|продано|распродан|\bvendid[oa]\b|agotad[oa]", re.IGNORECASE
)
SHORT_LISTING = 300  # letters; in a longer text such a word may speak of anything
LONGEST_TITLE, LONGEST_TEXT, LONGEST_PRICE, LONGEST_COUNT, LONGEST_DATE = 300, 5000, 100, 200, 100
MOST_ARCHIVES = 100
ENOUGH_WORDS = 1000  # letters in which a language shows
PARTS = (Counted.PHOTO_PER_PERSON, Counted.PHOTO_PER_SET)  # they say nothing of the whole


def make_listing(
    *,
    url: str,
    title: str,
    seller: str = "",
    description: str = "",
    price_text: str = "",
    count_text: str = "",
    date_text: str = "",
    images: Iterable[str] = (),
    archives: Iterable[str] = (),
    passwords: Iterable[str] | None = None,
    whole: str | None = None,
    sold: bool | None = None,
    seen: dt.date | None = None,
) -> Listing:
    """`count_text`, `date_text`: what stands in the places for them, if there are any. `whole`: all of its text, where
    words for "sold" and passwords may stand too. `passwords`: those that are known already; None where nobody looks
    for archives. `seen`: the page's day."""
    title, description = tidy(title, LONGEST_TITLE), tidy(description, LONGEST_TEXT)
    whole = description if whole is None else whole.encode(errors="replace").decode()
    description = hide_pictures(description)
    price_text = tidy(price_text, LONGEST_PRICE) or find_price(title)
    amount, currency = parse_price(price_text) if price_text else (None, None)
    count_text = tidy(count_text, LONGEST_COUNT)
    claims = read_claims(count_text or title)
    claimed_text = count_text or title
    if not claims and not count_text and (claims := read_claims(description[:DESCRIBED])):
        claimed_text = claims[0].text
    totals = sum_up(claims)
    text = f"{title}\n{description}"
    dates, dated = list_dates(tidy(date_text, LONGEST_DATE), text, seen)
    wrong = {
        "price": bool(price_text) and amount is None,
        "count": is_unread(claims, totals, bool(count_text)),
        "date": not dated,
    }
    return Listing(
        url=url,
        title=title,
        seller=tidy(seller, LONGEST_TITLE),
        description=description,
        price_text=price_text,
        price=amount,
        currency=currency,
        claimed_text=claimed_text,
        claimed_count=totals.count,
        invalid_fields=tuple(name for name, is_wrong in wrong.items() if is_wrong),
        images=tuple(images),
        archives=tuple(archives)[:MOST_ARCHIVES],
        sold=says_sold(title, whole) if sold is None else sold,
        unit_price=price_of_one(find_money(price_text), amount, totals.faces),
        claimed_people=totals.people,
        language=guess_language(text[:ENOUGH_WORDS]),
        counts=list_counts(claims),
        kinds=list_kinds(text),
        contacts=list_contacts(text),
        dates=dates,
        passwords=()
        if passwords is None
        else tuple(dict.fromkeys((*passwords, *find_passwords(whole))))[:MOST_PASSWORDS],
    )


def tidy(text: str, limit: int) -> str:
    """Spaces collapsed, control characters gone, cut and marked."""
    return clean_text(" ".join(text[: 20 * limit].split()), limit)


def says_sold(title: str, whole: str) -> bool:
    """In its title, or in a short text."""
    return bool(SOLD.search(title) or (len(whole) < SHORT_LISTING and SOLD.search(whole)))


def is_unread(claims: Sequence[Claim], totals: Totals, asked: bool) -> bool:
    """Is there a count that could not be read: two numbers for one thing, or no whole in the place for it?"""
    wholes = [claim for claim in claims if claim.of not in PARTS]
    return totals.count is None and (totals.doubtful if wholes else asked)
