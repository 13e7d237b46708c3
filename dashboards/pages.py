"""Templates: in come a request, a template's name and values, out comes HTML. Everything is escaped."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dashboards.access import Visitor, find_visitor
from vault.money import show_amount
from vault.settings import Settings

ROOM = Path(__file__).parent
FOLDERS = [ROOM / "templates", ROOM / "security/templates", ROOM / "individual/templates"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Why there is no answer: the status, a stable code, and what a visitor is told."""

    status: int
    code: str
    message: str


TROUBLES = {
    code: Trouble(status=status, code=code, message=message)
    for status, code, message in (
        (400, "request_invalid", "This request does not make sense to us."),
        (400, "request_malformed", "This is no request that we can read."),
        (403, "not_allowed", "You may not see this."),
        (404, "not_found", "There is nothing here, or it is not yours."),
        (405, "method_not_allowed", "This address does not take what was sent to it."),
        (408, "request_timeout", "The request took too long to arrive."),
        (410, "link_spent", "This link was used already, or has expired."),
        (413, "body_too_large", "More was sent than this address takes."),
        (414, "path_too_long", "This address is longer than any of ours."),
        (415, "media_type_not_allowed", "This address takes plain forms only, no files."),
        (429, "too_many_requests",
         "Too many requests came from where you are. Nothing was sent; please try again in a minute."),
        (429, "busy", "Too many are here just now. Nothing is lost; please try again in a moment."),
        (431, "head_too_large", "The request's headers are larger than any of ours."),
        (500, "unexpected", "Something went wrong."),
        (503, "database_gone",
         "The database does not answer just now. Nothing is lost; please try again in a moment."),
        (503, "disk_full",
         "A disk of this site is full: what you sent was not kept. Nothing older is lost; please try again later."),
        (503, "files_away", "Its files cannot be read just now. Nothing is lost; please try again in a moment."),
    )
}  # fmt: skip
USUAL = {trouble.status: trouble for trouble in reversed(TROUBLES.values())}  # of several with one status the first


class Pages:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._refusals: dict[str, str] = {}  # pages of errors for visitors who are not signed in, by code
        self._templates = Environment(
            loader=FileSystemLoader(FOLDERS), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._templates.globals["organisation"] = settings.organisation
        self._templates.filters |= {"time": show_time, "day": show_day, "amount": show_amount}

    def show(self, request: Request, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A page in the common layout. `visitor` is whoever is signed in, or None."""
        values.setdefault("visitor", find_visitor(request))
        return HTMLResponse(self._templates.get_template(name).render(values), status_code=status)

    def show_error(self, trouble: Trouble, visitor: Visitor | None) -> HTMLResponse:
        """The page of an error. It asks the database nothing: that may be what is gone."""
        text = self._refusals.get(trouble.code) if visitor is None else None
        if text is None:
            text = self._templates.get_template("error.html").render(trouble=trouble, visitor=visitor)
        if visitor is None:
            self._refusals[trouble.code] = text  # a flood is refused without drawing the page again
        return HTMLResponse(text, status_code=trouble.status)


def find_trouble(status: int) -> Trouble:
    """What an error with this status usually is."""
    return USUAL.get(status) or Trouble(status=status, code=f"http_{status}", message="Something went wrong.")


def show_time(moment: dt.datetime, seconds: bool = False) -> Markup:
    """A time in UTC, whatever zone the database gave it in."""
    moment = moment.astimezone(dt.UTC)
    text = moment.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
    return Markup('<time datetime="{}">{} UTC</time>').format(moment.isoformat(timespec="seconds"), text)


def show_day(moment: dt.datetime) -> Markup:
    return Markup('<time datetime="{0}">{0}</time>').format(moment.astimezone(dt.UTC).date().isoformat())
