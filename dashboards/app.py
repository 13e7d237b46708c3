"""The web server: in come requests, out come pages. Sessions live in the database, every asset is our own.

Each audience has its own router; what they share is here: headers, errors, templates, one box for pictures.
"""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dashboards.access import Visitor, find_visitor
from dashboards.access import router as access_router
from dashboards.headers import HEADERS, Headers
from dashboards.health import Health
from dashboards.health import router as health_router
from dashboards.individual.views import router as individual_router
from dashboards.limits import BODY_SECONDS, Limits
from dashboards.metrics import router as metrics_router
from dashboards.pages import TROUBLES, Pages, find_trouble
from dashboards.security.views import router as security_router
from vault.box import Box
from vault.errors import DiskFull, Unavailable
from vault.keys import load_keys
from vault.log import get_logger
from vault.settings import Settings
from vault.steps import Asker
from vault.store import DatabaseGone, OutOfRoom
from vault.store.pool import make_pool

STATIC = Path(__file__).parent / "static"
FULL = (errno.ENOSPC, errno.EDQUOT)
RETRY_LATER = "5"  # seconds
ROUTERS = (access_router, security_router, individual_router, metrics_router, health_router)

log = get_logger(__name__)


def make_app(settings: Settings, *, patience: float = BODY_SECONDS) -> FastAPI:
    """The application; a body has `patience` seconds to come whole. Raises KeyFileError."""
    keys = load_keys(settings.key_file)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.pool.open()
        app.state.health.open()
        yield
        app.state.pool.close()
        app.state.health.close()
        app.state.box.close()

    app = FastAPI(title="Facewarden", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan,
                  telemetry={"auto_configure": False})  # fmt: skip
    app.state.settings, app.state.keys = settings, keys
    app.state.pool, app.state.box = make_pool(settings), Box()
    app.state.asker, app.state.pages = Asker(settings), Pages(settings)
    app.state.health = Health(settings)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for router in ROUTERS:
        app.include_router(router)
    app.add_api_route("/", show_start, methods=["GET"], include_in_schema=False)
    allowed = sorted({settings.public_url.split("//", 1)[1].split("/")[0].split(":")[0], "127.0.0.1", "localhost"})
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=allowed)  # a name rebound to us is not answered
    app.add_middleware(
        Limits, show_refusal=lambda code: app.state.pages.show_error(TROUBLES[code], None), patience=patience
    )
    app.add_middleware(Headers)
    app.add_exception_handler(HTTPException, show_http_error)
    app.add_exception_handler(RequestValidationError, show_misfit)
    app.add_exception_handler(Exception, show_crash)
    for errors, handler in TROUBLED.items():
        for error in errors:
            app.add_exception_handler(error, handler)
    return app


def list_routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every (method, path) that has an answer of its own; `app.routes` shows an included router as one."""
    routes = (*app.routes, *(route for router in ROUTERS for route in router.routes))
    return sorted(
        (method, route.path) for route in routes if isinstance(route, APIRoute) for method in route.methods or ()
    )


def show_start(request: Request) -> Response:
    """Where a visitor belongs."""
    visitor: Visitor | None = find_visitor(request)
    if visitor is None:
        return request.app.state.pages.show(request, "start.html")  # type: ignore[no-any-return]
    return RedirectResponse("/security/alerts" if visitor.operator else "/me", status_code=303)


async def show_http_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    headers = dict(exc.headers or {})
    if exc.status_code == 303:
        return RedirectResponse(headers["Location"], status_code=303)
    response = show_error(request, exc.status_code)
    response.headers.update(headers)
    return response


async def show_misfit(request: Request, exc: Exception) -> Response:
    """A page number, an id or a form that cannot be: what the path names is not there, the rest makes no sense."""
    assert isinstance(exc, RequestValidationError)
    in_path = any(error["loc"][0] == "path" for error in exc.errors())
    return show_error(request, 404 if in_path else 400)


async def show_crash(request: Request, exc: Exception) -> Response:
    """The server's outermost edge, past every middleware; uvicorn logs the traceback."""
    response: Response = request.app.state.pages.show_error(TROUBLES["unexpected"], None)
    response.headers.update(HEADERS)
    return response


def show_error(request: Request, status: int) -> Response:
    """The error page, with the way back that whoever asks is used to."""
    try:
        visitor = find_visitor(request)
    except DatabaseGone:
        visitor = None
    shown: Response = request.app.state.pages.show_error(find_trouble(status), visitor)
    return shown


async def show_no_database(request: Request, exc: Exception) -> Response:
    log.warning("the database does not answer", route=name_route(request), error=type(exc).__name__)
    return show_try_again(request, "database_gone")


async def show_no_room(request: Request, exc: Exception) -> Response:
    log.warning("a disk is full", route=name_route(request), error=type(exc).__name__)
    return show_try_again(request, "disk_full")


async def show_away(request: Request, exc: Exception) -> Response:
    """What workers pause for: a folder that cannot be read, a disk that is full."""
    assert isinstance(exc, Unavailable)
    if exc.stable_code == "disk_full":
        return await show_no_room(request, exc)
    log.warning("something is away", route=name_route(request), code=exc.stable_code)
    return show_try_again(request, "files_away")


async def show_system_error(request: Request, exc: Exception) -> Response:
    """A full disk is nobody's mistake; anything else that the system says is ours."""
    if getattr(exc, "errno", None) in FULL:
        return await show_no_room(request, exc)
    raise exc


def show_try_again(request: Request, code: str) -> Response:
    """An error that passes by itself once somebody has seen to it. It asks the database nothing."""
    response: Response = request.app.state.pages.show_error(TROUBLES[code], None)
    response.headers["Retry-After"] = RETRY_LATER
    return response


TROUBLED = {
    DatabaseGone: show_no_database,
    (OutOfRoom, DiskFull): show_no_room,
    (Unavailable,): show_away,
    (OSError,): show_system_error,
}


def name_route(request: Request) -> str:
    """What was asked for, as the program names it: the path itself may hold a token."""
    return str(getattr(request.scope.get("route"), "path", "none of ours"))
