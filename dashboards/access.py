"""Who is asking: one-time links become sessions, sessions become visitors. Forms carry the session's token."""

import secrets
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from vault.ledger import Kind
from vault.store.access import SESSION_HOURS, end_session, get_session, start_session, use_link
from vault.store.ledger import write_entry
from vault.tokens import derive_token

COOKIE = "facewarden_session"

router = APIRouter()


@dataclass(frozen=True, kw_only=True, slots=True)
class Visitor:
    """Somebody who is signed in: an operator by name, or a subject."""

    operator: str | None
    subject_id: UUID | None
    form_token: str


def find_visitor(request: Request) -> Visitor | None:
    """Whoever the session cookie belongs to; looked up once a request."""
    if hasattr(request.state, "visitor"):
        return request.state.visitor  # type: ignore[no-any-return]
    token = request.cookies.get(COOKIE, "")
    visitor = None
    if token:
        with request.app.state.pool.connection() as conn:
            session = get_session(conn, token)
        if session is not None:
            form_token = derive_token(token, "form")
            visitor = Visitor(operator=session.operator, subject_id=session.subject_id, form_token=form_token)
    request.state.visitor = visitor
    return visitor


def require_operator(request: Request) -> Visitor:
    visitor = find_visitor(request)
    if visitor is None:
        raise HTTPException(303, headers={"Location": "/"})
    if visitor.operator is None:
        raise HTTPException(403)
    return visitor


def require_subject(request: Request) -> Visitor:
    visitor = find_visitor(request)
    if visitor is None:
        raise HTTPException(303, headers={"Location": "/"})
    if visitor.subject_id is None:
        raise HTTPException(403)
    return visitor


def check_form(request: Request, visitor: Visitor, form_token: str) -> None:
    """A form must come from our own page: its token, and the browser's word for where it was sent from."""
    check_origin(request)
    if not secrets.compare_digest(form_token.encode(), visitor.form_token.encode()):
        raise HTTPException(403)


def check_origin(request: Request) -> None:
    """Refuse a form that a browser says comes from elsewhere, or from nowhere (`null`). What is no browser says nothing
    and needs a token all the same: the link's or the session's."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise HTTPException(403)


def hand_cookie(request: Request, response: Response, token: str) -> None:
    """Give the browser the token of its session."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=SESSION_HOURS * 3600,
        httponly=True,
        samesite="lax",
        secure=request.app.state.settings.public_url.startswith("https:"),
    )


@router.get("/enter/{token}")
def show_operator_link(request: Request, token: str) -> Response:
    """A link is only spent by the button, so that a mail scanner that follows it spends nothing."""
    page: Response = request.app.state.pages.show(request, "enter.html", action=f"/enter/{token}", visitor=None)
    return page


@router.post("/enter/{token}")
def use_operator_link(request: Request, token: str) -> Response:
    check_origin(request)
    with request.app.state.pool.connection() as conn, conn.transaction():
        found = use_link(conn, "operator", token)
        if found is None or found[1] is None:
            raise HTTPException(410)
        write_entry(conn, Kind.VIEW, about=f"operator:{found[1]}", what="signed in", by=str(found[1]))
        session = start_session(conn, operator=found[1])
    response = RedirectResponse("/security/alerts", status_code=303)
    hand_cookie(request, response, session)
    return response


@router.post("/leave")
def leave(request: Request, form_token: Annotated[str, Form()]) -> Response:
    visitor = find_visitor(request)
    if visitor is not None:
        check_form(request, visitor, form_token)
        with request.app.state.pool.connection() as conn:
            end_session(conn, request.cookies.get(COOKIE, ""))
    response = RedirectResponse("/", status_code=303)
    response.delete_cookie(COOKIE)
    return response


Operator = Annotated[Visitor, Depends(require_operator)]
SignedInSubject = Annotated[Visitor, Depends(require_subject)]
