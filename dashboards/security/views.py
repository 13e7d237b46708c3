"""The security pages: alerts, and one alert with what it rests on. Every look at an alert is a ledger entry."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from starlette.exceptions import HTTPException

from dashboards.access import Operator
from dashboards.security.charts import draw_prices
from dashboards.security.queries import (
    PER_PAGE,
    Row,
    count_alerts,
    count_denied,
    count_held,
    get_alert,
    get_face,
    list_alerts,
    list_faces,
    list_listings,
)
from vault.errors import BlobError, InputRefused, KeyFileError
from vault.ledger import Kind
from vault.money import convert
from vault.store.blobs import read_blob
from vault.store.bundles import list_versions
from vault.store.datasets import list_timeline
from vault.store.ledger import write_entry
from vault.store.status import read_coverage

router = APIRouter(prefix="/security")
MOST_ID = 2**63 - 1
MOST_LINES = 200  # of a timeline


@router.get("/alerts")
def show_alerts(request: Request, visitor: Operator, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> Response:
    state = request.app.state
    with state.pool.connection() as conn:
        total, held, denied = count_alerts(conn), count_held(conn), count_denied(conn)
        alerts = list_alerts(conn, (page - 1) * PER_PAGE)
        coverage = None if alerts else read_coverage(conn, state.settings.faces.pack)
    rows = [{**row, "person": name_person(request, row)} for row in alerts]
    shown: Response = state.pages.show(
        request, "alerts.html", alerts=rows, total=total, held=held, denied=denied, page=page,
        coverage=coverage, last=max(1, -(-total // PER_PAGE)),
    )  # fmt: skip
    return shown


@router.get("/alerts/{alert_id}")
def show_alert(request: Request, visitor: Operator, alert_id: UUID) -> Response:
    state = request.app.state
    with state.pool.connection() as conn:
        alert = get_alert(conn, alert_id)
        if alert is None:
            raise HTTPException(404)
        faces, listings = list_faces(conn, alert_id), list_listings(conn, alert["dataset_id"])
        timeline = list_timeline(conn, alert["dataset_id"], MOST_LINES)
        versions = list_versions(conn, [alert_id])
        write_entry(conn, Kind.VIEW, about=str(alert_id), what="alert", by=str(visitor.operator))
    money = state.settings.money
    rates = money.list_rates()
    for each in listings:
        day = each["seen_at"].date()
        each["worth"] = convert(each["unit_price"], each["currency"], money.currency, rates, day)
    person = name_person(request, alert)
    shown: Response = state.pages.show(
        request, "alert.html", alert=alert, faces=faces, listings=listings, timeline=timeline, person=person,
        chart=draw_prices(timeline), spoken={each["listing_id"]: each["language"] for each in listings},
        versions=versions,
    )  # fmt: skip
    return shown


@router.get("/faces/{face_id}.png")
def show_face(request: Request, visitor: Operator, face_id: int) -> Response:
    """A matched face as at most 6 x 6 blocks, made in the box: the face is gone before the bytes reach this process."""
    if not 0 < face_id <= MOST_ID:
        raise HTTPException(404)
    state = request.app.state
    with state.pool.connection() as conn:
        face = get_face(conn, face_id)
        if face is None:
            raise HTTPException(404)
        try:
            picture = read_blob(conn, state.keys, state.settings.home / "blobs", face["sha256"])
        except (BlobError, KeyFileError) as exc:
            raise HTTPException(404) from exc
    try:
        with state.box.batch() as child:
            mosaic = child.make_mosaic(picture, (face["x"], face["y"], face["width"], face["height"]))
    except InputRefused as exc:
        raise HTTPException(404) from exc
    return Response(mosaic, media_type="image/png", headers={"Content-Disposition": "inline; filename=face.png"})


def name_person(request: Request, alert: Row) -> str:
    """How the person of an alert is called on these pages: eight digits of their keyed digest, or the alert's label."""
    if not alert["is_open"]:
        return str(alert["label"])
    digest: str = request.app.state.keys.digest_text(f"subject:{alert['subject_id']}")
    return digest[:8]
