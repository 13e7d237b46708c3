"""The person's pages: confirm an enrolment, enter by a link, ask for a new one, see how things stand, say that a face
is not theirs, withdraw."""

from collections.abc import Callable
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from dashboards.access import SignedInSubject, Visitor, check_form, check_origin, hand_cookie
from dashboards.individual.queries import get_status, list_own_alerts
from vault.addresses import name_network
from vault.errors import JudgementError
from vault.ledger import Kind
from vault.steps import Step
from vault.store.access import start_session, use_link
from vault.store.approvers import list_approvers
from vault.store.judgements import judge_alert, take_back_judgement
from vault.store.ledger import write_entry
from vault.store.requests import KEPT_SECONDS, LINK_MINUTES, RequestKind, save_request
from vault.store.status import read_coverage
from vault.store.subjects import confirm_consent, digest_address, has_consent
from vault.store.withdrawals import withdraw_consent

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
        if not has_consent(conn, found[0], confirmed=True):  # dropped or withdrawn a moment ago
            raise HTTPException(410)
        person = state.keys.digest_text(f"subject:{found[0]}")
        write_entry(conn, Kind.CONSENT, about=person, what="confirmed", by="subject")
        session = start_session(conn, subject_id=found[0])
    response = RedirectResponse("/me", status_code=303)
    hand_cookie(request, response, session)
    return response


@router.get("/enter/{token}")
def show_enter(request: Request, token: str) -> Response:
    page: Response = request.app.state.pages.show(request, "enter.html", action=f"/me/enter/{token}", visitor=None)
    return page


@router.post("/enter/{token}")
def enter(request: Request, token: str) -> Response:
    check_origin(request)
    with request.app.state.pool.connection() as conn, conn.transaction():
        found = use_link(conn, "subject", token)
        if found is None or found[0] is None:
            raise HTTPException(410)
        session = start_session(conn, subject_id=found[0])
    response = RedirectResponse("/me", status_code=303)
    hand_cookie(request, response, session)
    return response


@router.post("/link")
def ask_new_link(request: Request, address: Annotated[str, Form()]) -> Response:
    """Whoever is enrolled gets a new link by mail. One row is written, the same for every address; nothing here looks
    at who is enrolled."""
    check_origin(request)
    state = request.app.state
    network = name_network(request.client.host if request.client else "")
    with state.pool.connection() as conn:
        kept = save_request(
            conn, RequestKind.LINK, digest_address(state.keys, address), state.keys.digest_text(f"network:{network}")
        )
    done = {"Connection": "close"}  # a visitor who asked has nothing more to say on this connection
    if not kept:
        raise HTTPException(429, headers={"Retry-After": str(round(KEPT_SECONDS)), **done})
    page: Response = state.pages.show(request, "asked.html", minutes=LINK_MINUTES, visitor=None)
    page.headers.update(done)
    return page


@router.get("")
def show_me(request: Request, visitor: SignedInSubject) -> Response:
    assert visitor.subject_id is not None
    with request.app.state.pool.connection() as conn:
        status = get_status(conn, visitor.subject_id)
        alerts = list_own_alerts(conn, visitor.subject_id)
        coverage = read_coverage(conn, request.app.state.settings.faces.pack)
        approvers = list_approvers(conn, request.app.state.keys)
    if status is None:
        raise HTTPException(404)
    days = request.app.state.settings.matching.not_me_days
    page: Response = request.app.state.pages.show(
        request, "me.html", me=status, alerts=alerts, days=days, coverage=coverage, approvers=approvers
    )
    return page


@router.post("/alerts/{alert_id}/not-me")
def judge(request: Request, visitor: SignedInSubject, alert_id: UUID, form_token: Annotated[str, Form()]) -> Response:
    """From now on faces like those of this alert do not alert the person; a worker takes them up in seconds."""
    days = request.app.state.settings.matching.not_me_days
    return change_judgement(
        request, visitor, alert_id, form_token, partial(judge_alert, days=days), Step.MAKE_NEGATIVES
    )


@router.post("/alerts/{alert_id}/take-back")
def take_back(
    request: Request, visitor: SignedInSubject, alert_id: UUID, form_token: Annotated[str, Form()]
) -> Response:
    """As if it had not been said; what was held back by it alerts now."""
    return change_judgement(request, visitor, alert_id, form_token, take_back_judgement, Step.DELIVER)


def change_judgement(
    request: Request, visitor: Visitor, alert_id: UUID, form_token: str, change: Callable[..., bool], step: Step
) -> Response:
    """`step`: what a worker has to do then."""
    check_form(request, visitor, form_token)
    assert visitor.subject_id is not None
    state = request.app.state
    try:
        with state.pool.connection() as conn, conn.transaction():
            change(conn, state.keys, visitor.subject_id, alert_id)
    except JudgementError as exc:
        raise HTTPException(404) from exc
    state.asker.ask(step)
    return RedirectResponse(f"/me#alert-{alert_id}", status_code=303)


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
            write_entry(conn, Kind.CONSENT, about=person, what="withdrawn", by="subject")
    state.asker.ask(Step.ERASE_SUBJECTS)
    page: Response = state.pages.show(request, "withdrawn.html", visitor=None)
    return page
