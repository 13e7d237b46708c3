"""The person's pages: confirm an enrolment, enter by a link, see how things stand, withdraw."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from dashboards.access import SignedInSubject, check_form, check_origin, sign_in
from dashboards.individual.queries import get_status, list_own_alerts
from vault.ledger import Kind
from vault.steps import Step
from vault.store.access import use_link
from vault.store.ledger import write_entry
from vault.store.subjects import confirm_consent, withdraw_consent

router = APIRouter(prefix="/me")


@router.get("/confirm/{token}")
def show_confirm(request: Request, token: str) -> Response:
    page: Response = request.app.state.pages.show(request, "confirm.html", action=f"/me/confirm/{token}", visitor=None)
    return page


@router.post("/confirm/{token}")
def confirm(request: Request, token: str) -> Response:
    """Consent begins here: from now on the person's template may be searched."""
    check_origin(request)
    state = request.app.state
    with state.pool.connection() as conn, conn.transaction():
        found = use_link(conn, "confirm", token)
        if found is None or found[0] is None:
            raise HTTPException(410)
        confirm_consent(conn, found[0])
        person = state.keys.digest_text(f"subject:{found[0]}")
        write_entry(conn, Kind.CONSENT, about=person, what="confirmed")
    response = RedirectResponse("/me", status_code=303)
    sign_in(request, response, subject_id=found[0])
    return response


@router.get("/enter/{token}")
def show_enter(request: Request, token: str) -> Response:
    page: Response = request.app.state.pages.show(request, "enter.html", action=f"/me/enter/{token}", visitor=None)
    return page


@router.post("/enter/{token}")
def enter(request: Request, token: str) -> Response:
    check_origin(request)
    with request.app.state.pool.connection() as conn:
        found = use_link(conn, "subject", token)
    if found is None or found[0] is None:
        raise HTTPException(410)
    response = RedirectResponse("/me", status_code=303)
    sign_in(request, response, subject_id=found[0])
    return response


@router.get("")
def show_me(request: Request, visitor: SignedInSubject) -> Response:
    assert visitor.subject_id is not None
    with request.app.state.pool.connection() as conn:
        status = get_status(conn, visitor.subject_id)
        alerts = list_own_alerts(conn, visitor.subject_id)
    if status is None:
        raise HTTPException(404)
    page: Response = request.app.state.pages.show(request, "me.html", me=status, alerts=alerts)
    return page


@router.post("/withdraw")
def withdraw(
    request: Request, visitor: SignedInSubject, form_token: Annotated[str, Form()], sure: Annotated[str, Form()] = ""
) -> Response:
    """Matching falls silent in this transaction; the erasure follows by itself."""
    check_form(request, visitor, form_token)
    if sure != "yes":
        return RedirectResponse("/me", status_code=303)
    assert visitor.subject_id is not None
    state = request.app.state
    with state.pool.connection() as conn, conn.transaction():
        if withdraw_consent(conn, visitor.subject_id):
            person = state.keys.digest_text(f"subject:{visitor.subject_id}")
            write_entry(conn, Kind.CONSENT, about=person, what="withdrawn")
    state.asker.ask(Step.ERASE_SUBJECTS)
    page: Response = state.pages.show(request, "withdrawn.html", visitor=None)
    return page
