"""What an address says of our visit and not of the page: session ids, marks of campaigns; and the address without."""

import re
from urllib.parse import unquote_plus

# parameters that name a visit, or where it came from, not a page
VISIT = {"phpsessid", "jsessionid", "sid", "s", "session", "sessionid", "session_id", "zenid", "oscsid", "osadcid",
         "cfid", "cftoken", "aspsessionid"}  # fmt: skip
CAMPAIGN = {"fbclid", "gclid", "yclid", "_ga"}
VISIT_VALUE = re.compile(r"(?=.*[0-9])[0-9a-zA-Z_,-]{16,}")
SHORT_VISIT = re.compile(r"(?=.*[0-9])[0-9a-zA-Z]{16,}")  # of `s`, which may be what is searched for
JSESSIONID = re.compile(r";jsessionid=[^/?#]*", re.IGNORECASE)


def leave_visit(url: str) -> str:
    """The address without what names a visit: a session in it is neither kept nor sent."""
    place, mark, query = JSESSIONID.sub("", url).partition("?")
    pieces = [piece for piece in query.split("&") if not names_visit(*split_pair(piece))]
    return f"{place}{mark if any(pieces) else ''}{'&'.join(pieces)}"


def split_pair(piece: str) -> tuple[str, str]:
    """Name and value of a piece of a query, as they are meant."""
    name, _, value = piece.partition("=")
    return unquote_plus(name), unquote_plus(value)


def names_visit(name: str, value: str) -> bool:
    """Is it a session id? Only if what it holds looks like one."""
    low = name.lower()
    return low in VISIT and (SHORT_VISIT if low == "s" else VISIT_VALUE).fullmatch(value) is not None


def names_campaign(name: str) -> bool:
    return name.lower().startswith("utm_") or name.lower() in CAMPAIGN
