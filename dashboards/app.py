"""The web server: in come requests, out come pages. Sessions live in the database, every asset is our own.

Each audience has its own router; what they share is here: headers, errors, templates, one box for pictures.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dashboards.access import Visitor, find_visitor
from dashboards.access import router as access_router
from dashboards.individual.views import router as individual_router
from dashboards.pages import Pages
from dashboards.security.views import router as security_router
from vault.box import Box
from vault.keys import load_keys
from vault.log import get_logger
from vault.settings import Settings
from vault.steps import Asker, BrokerGone, connect_redis
from vault.store import DatabaseError, DatabaseGone
from vault.store.pool import make_pool

STATIC = Path(__file__).parent / "static"
HEADERS = {
    # Pico draws its form icons from data: URLs; nothing else may be loaded from anywhere but here
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

log = get_logger(__name__)


def make_app(settings: Settings) -> FastAPI:
    """The application. Raises KeyFileError."""
    keys = load_keys(settings.key_file)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.pool.open()
        yield
        app.state.pool.close()
        app.state.box.close()

    app = FastAPI(title="Facewarden", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.settings, app.state.keys = settings, keys
    app.state.pool, app.state.box = make_pool(settings), Box()
    app.state.asker, app.state.pages = Asker(settings), Pages(settings)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for router in (access_router, security_router, individual_router):
        app.include_router(router)
    app.add_api_route("/", show_start, methods=["GET"], include_in_schema=False)
    app.add_api_route("/health", show_health, methods=["GET"])
    app.middleware("http")(add_headers)
    allowed = sorted({settings.public_url.split("//", 1)[1].split("/")[0].split(":")[0], "127.0.0.1", "localhost"})
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=allowed)  # a name rebound to us is not answered
    app.add_exception_handler(HTTPException, show_http_error)
    for gone in DatabaseGone:
        app.add_exception_handler(gone, show_no_database)
    return app


async def add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.url.path.startswith("/static/"):
        response.headers["Cache-Control"] = "public, max-age=3600"
    return response


def show_start(request: Request) -> Response:
    """Where a visitor belongs."""
    visitor: Visitor | None = find_visitor(request)
    if visitor is None:
        return request.app.state.pages.show(request, "start.html")  # type: ignore[no-any-return]
    return RedirectResponse("/security/alerts" if visitor.operator else "/me", status_code=303)


def show_health(request: Request) -> JSONResponse:
    """`ok`, or `degraded` with the part that does not answer; 503 only without the database."""
    parts = {"database": "ok", "redis": "ok"}
    try:
        with request.app.state.pool.connection() as conn:
            conn.execute("select 1")
    except DatabaseError:
        parts["database"] = "no answer"
    try:
        connect_redis(request.app.state.settings).ping()
    except BrokerGone:
        parts["redis"] = "no answer"
    state = "ok" if set(parts.values()) == {"ok"} else "degraded"
    return JSONResponse({"state": state, **parts}, status_code=200 if parts["database"] == "ok" else 503)


async def show_http_error(request: Request, exc: Exception) -> Response:
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    headers = dict(exc.headers or {}) if isinstance(exc, HTTPException) else {}
    if status == 303:
        return RedirectResponse(headers["Location"], status_code=303)
    response: Response = request.app.state.pages.show(request, "error.html", status=status, code=status)
    return response


async def show_no_database(request: Request, exc: Exception) -> Response:
    log.warning("the database does not answer", path=request.url.path, error=type(exc).__name__)
    response: Response = request.app.state.pages.show(request, "error.html", status=503, code=503)
    response.headers["Retry-After"] = "5"
    return response


def run_web(settings: Settings) -> None:
    """Serve until SIGTERM. A port in use ends it with exit code 1; the supervisor checks before."""
    uvicorn.run(
        make_app(settings),
        host=settings.web.host,
        port=settings.web.port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=10,
    )
