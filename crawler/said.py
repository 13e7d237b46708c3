"""What a listing says besides title and price, as rows keep it: in come its texts, out come `Said` of one form.

Pure. Everything keeps the piece of the text it came from; what cannot be read is named and kept raw.
"""

import datetime as dt
import re
from collections.abc import Sequence

from crawler.claims import FoundDate, find_contacts, find_dates, find_kinds, parse_date
from crawler.numbers import Bound, Claim
from vault.records import Said

MOST_SAID = 20  # of one sort
ENOUGH_TEXT = 2000  # characters in which kinds and dates are looked for; contacts stand at the end
DESCRIBED = 600  # characters of a description in which counts are looked for, where the title has none
BOUNDS = {Bound.AT_LEAST: "{}+", Bound.AT_MOST: "\u2264{}", Bound.ABOUT: "~{}"}
PASSWORD = re.compile(
    r"""(?:解压码|密码|口令|пароль|पासवर्ड|(?<![a-z])(?:password|passwd|pass|pwd|pw|contraseña|contrasena|clave))
         (?:[ ](?:to|for|от|к|на|del?|para)[ ](?:[ ]?[^\s:：]{1,20}){1,3})?
         (?:[ ]?(?:[:：=→]|[-–—][ ]|是|为|為)[ ]?|[ ](?:is|это|es|है|hai)[ ]:?[ ]?
           |[ ]?(?=["“‘«`])|[ ](?=[!-~]*\d)|(?<=[码令])[ ]?(?=[!-~]))
         (?:["'“‘«`](?P<quoted>[^"'”’»`\n]{1,64})["'”’»`]|(?P<token>[^\s"“”«»，。；、！<>]{1,64}))""",
    re.VERBOSE | re.IGNORECASE,
)
LATIN = re.compile(r"[!-~]+")
MOST_PASSWORDS = 10  # that are tried on one archive
MOST_TEXT = 200_000  # characters of a listing in which passwords are looked for
HINTS = ("pass", "pwd", "pw", "密码", "解压", "口令", "пароль", "contrase", "clave", "पासवर्ड")


def list_counts(claims: Sequence[Claim]) -> tuple[Said, ...]:
    return tuple(Said(what=claim.of, value=write_count(claim), text=claim.text) for claim in claims[:MOST_SAID])


def write_count(claim: Claim) -> str:
    """5000, 500-800, 5000+, ≤5000 or ~5000."""
    number = str(claim.low) if claim.low == claim.high else f"{claim.low}-{claim.high}"
    return BOUNDS.get(claim.bound, "{}").format(number)


def list_kinds(text: str) -> tuple[Said, ...]:
    return tuple(Said(what=found.kind, value="", text=found.text) for found in find_kinds(text[:ENOUGH_TEXT]))


def list_contacts(text: str) -> tuple[Said, ...]:
    """Each once, whatever its spelling."""
    found = {(each.kind, each.value.lower()): each for each in reversed(find_contacts(text))}
    contacts = list(reversed(found.values()))[:MOST_SAID]
    return tuple(Said(what=each.kind, value=each.value, text=each.text) for each in contacts)


def list_dates(posted: str, text: str, seen: dt.date | None) -> tuple[tuple[Said, ...], bool]:
    """The day in the place for it, then those that the text names; False if what stands in that place is no day."""
    day = parse_date(posted, seen=seen) if posted else None
    first = (Said(what="posted", value=day.isoformat() if day else "", text=posted),) if posted else ()
    named = {found.day: found for found in reversed(find_dates(text[:ENOUGH_TEXT], seen=seen))}
    return (*first, *map(name_date, list(reversed(named.values()))[:MOST_SAID])), not posted or day is not None


def name_date(found: FoundDate) -> Said:
    return Said(what="named", value=found.day.isoformat(), text=found.text)


def find_passwords(text: str) -> tuple[str, ...]:
    """What stands behind a word for a password: as it is, without the full stop or bracket behind it, and where another
    script follows at once, without that."""
    low = text[:MOST_TEXT].lower()
    if not any(hint in low for hint in HINTS):
        return ()
    found: dict[str, None] = {}
    for match in PASSWORD.finditer(text[:MOST_TEXT]):
        if match["quoted"]:
            found[match["quoted"]] = None
            continue
        token = match["token"]
        plain = LATIN.match(token)
        for each in (token.rstrip(".,;!?)]}"), plain[0] if plain else "", token):
            if each:
                found[each] = None
        if len(found) >= MOST_PASSWORDS:
            break
    return tuple(found)[:MOST_PASSWORDS]
