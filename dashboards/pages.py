"""Templates: in come a request, a template's name and values, out comes HTML. Everything is escaped."""

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dashboards.access import find_visitor
from vault.settings import Settings

ROOM = Path(__file__).parent
FOLDERS = [ROOM / "templates", ROOM / "security/templates", ROOM / "individual/templates"]
ERRORS = {
    400: "This request does not make sense to us.",
    403: "You may not see this.",
    404: "There is nothing here, or it is not yours.",
    410: "This link was used already, or has expired.",
    503: "The database does not answer just now. Nothing is lost; please try again in a moment.",
}


class Pages:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._templates = Environment(
            loader=FileSystemLoader(FOLDERS), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )

    def show(self, request: Request, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A page in the common layout. `visitor` is whoever is signed in, or None."""
        if name == "error.html":
            values |= {"message": ERRORS.get(status, "Something went wrong."), "visitor": None}
        values.setdefault("visitor", None if name == "error.html" else find_visitor(request))
        return HTMLResponse(self._templates.get_template(name).render(values), status_code=status)
