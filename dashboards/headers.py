"""Headers that every answer carries, also those that no page made. In comes an ASGI application, out goes another."""

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # Pico draws its form icons from data: URLs; nothing else may be loaded from anywhere but here
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not no-referrer: with that, browsers send `Origin: null` with our own forms, and check_origin refuses them
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATIC_LASTS = "public, max-age=3600"


class Headers:
    """Middleware, outside all other: a refused Host and a crash are answered with the same headers as a page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_headers(message, scope.get("path", ""))
            await send(message)

        await self._app(scope, receive, send_with_headers)


def add_headers(message: MutableMapping[str, Any], path: str) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if path.startswith("/static/") and message["status"] in (200, 206, 304):
        headers["Cache-Control"] = STATIC_LASTS
