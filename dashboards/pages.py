"""Templates: in come a request, a template's name and values, out comes HTML. Everything is escaped."""

import datetime as dt
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
ERRORS = {
    400: "This request does not make sense to us.",
    403: "You may not see this.",
    404: "There is nothing here, or it is not yours.",
    405: "This address does not take what was sent to it.",
    410: "This link was used already, or has expired.",
    429: "Too many requests came from where you are. Nothing was sent; please try again in a minute.",
    503: "The database does not answer just now. Nothing is lost; please try again in a moment.",
}


class Pages:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._templates = Environment(
            loader=FileSystemLoader(FOLDERS), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._templates.globals["organisation"] = settings.organisation
        self._templates.filters |= {"time": show_time, "day": show_day, "amount": show_amount}

    def show(self, request: Request, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A page in the common layout. `visitor` is whoever is signed in, or None."""
        values.setdefault("visitor", find_visitor(request))
        return HTMLResponse(self._templates.get_template(name).render(values), status_code=status)

    def show_error(self, status: int, visitor: Visitor | None) -> HTMLResponse:
        """The page of an error. It asks the database nothing: that may be what is gone."""
        values = {"code": status, "message": ERRORS.get(status, "Something went wrong."), "visitor": visitor}
        return HTMLResponse(self._templates.get_template("error.html").render(values), status_code=status)


def show_time(moment: dt.datetime, seconds: bool = False) -> Markup:
    """A time in UTC, whatever zone the database gave it in."""
    moment = moment.astimezone(dt.UTC)
    text = moment.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
    return Markup('<time datetime="{}">{} UTC</time>').format(moment.isoformat(timespec="seconds"), text)


def show_day(moment: dt.datetime) -> Markup:
    return Markup('<time datetime="{0}">{0}</time>').format(moment.astimezone(dt.UTC).date().isoformat())
