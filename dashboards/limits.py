"""What a request may be, and how many at once, before anything looks at one: an ASGI application in, another out.

The head is measured, then the body is read whole (it is small: nothing here takes a picture), then the request waits
for its turn, and only then does the application see it. What is refused gets our error page; nothing of it is kept.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vault.addresses import name_network

MOST_HEAD = 16 << 10  # bytes of all headers
MOST_HEADERS = 64
MOST_PATH = 4 << 10  # bytes, the query included
MOST_BODY = 64 << 10  # bytes
MOST_FIELDS = 32  # of a query or a form
FORM = "application/x-www-form-urlencoded"
BODY_SECONDS = 20.0
AT_ONCE = 16  # requests that are answered at a time: fewer than there are threads for them
MOST_HERE = 56  # those that wait for their turn included ...
MOST_OF_NETWORK = 40  # ... and those of one /24 or /56
TURN_SECONDS = 0.4  # that one waits for its turn
RETRY_SECONDS = 2
NEVER_WAITS = "/health"


class Refused(Exception):
    """The request gets an error page instead of an answer. `unread`: its body is still to come, so the connection is of
    no further use. `later`: it may be tried again in so many seconds."""

    def __init__(self, code: str, *, unread: bool = False, later: int = 0) -> None:
        super().__init__(code)
        self.code = code
        self.headers = {"Connection": "close"} if unread else {}
        if later:
            self.headers["Retry-After"] = str(later)


class Gone(Exception):
    """The client went away in the middle of its request."""


class Limits:
    """Middleware. `show_refusal`: the error page of a code. `patience`: seconds for a whole body, however it drips."""

    def __init__(
        self, app: ASGIApp, *, show_refusal: Callable[[str], Response], patience: float = BODY_SECONDS
    ) -> None:
        self._app, self._show_refusal, self._patience, self._crowd = app, show_refusal, patience, Crowd()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            check_head(scope)
            body = await read_body(scope, receive, self._patience)
            async with self._crowd.enter(scope):
                await self._app(scope, receive if body is None else replay(body, receive), send)
        except Refused as exc:
            response = self._show_refusal(exc.code)
            response.headers.update(exc.headers)
            await response(scope, receive, send)
        except Gone:
            return


def check_head(scope: Scope) -> None:
    """Raises Refused."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    query: bytes = scope.get("query_string", b"")
    if len(scope.get("raw_path") or scope["path"].encode()) + len(query) > MOST_PATH:
        raise Refused("path_too_long", unread=True)
    if len(headers) > MOST_HEADERS or sum(len(name) + len(value) for name, value in headers) > MOST_HEAD:
        raise Refused("head_too_large", unread=True)
    check_fields(query, unread=True)


async def read_body(scope: Scope, receive: Receive, patience: float) -> bytes | None:
    """The whole body of a form, None if there is none. Raises Refused, Gone."""
    headers = Headers(scope=scope)
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        raise Refused("request_invalid", unread=True)
    if int(length) > MOST_BODY:
        raise Refused("body_too_large", unread=True)
    if int(length) == 0 and "transfer-encoding" not in headers:
        return None
    if headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Refused("media_type_not_allowed", unread=True)
    body = bytearray()
    try:
        async with asyncio.timeout(patience):
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise Gone
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MOST_BODY:
                    raise Refused("body_too_large", unread=more)
    except TimeoutError as exc:
        raise Refused("request_timeout", unread=True) from exc
    check_fields(bytes(body))
    return bytes(body)


def check_fields(text: bytes, *, unread: bool = False) -> None:
    """A field that is there twice has no meaning that two programs agree on. Raises Refused."""
    try:
        names = [name for name, _ in parse_qsl(text.decode("latin-1"), True, max_num_fields=MOST_FIELDS)]
    except ValueError as exc:
        raise Refused("request_invalid", unread=unread) from exc
    if len(names) != len(set(names)):
        raise Refused("request_invalid", unread=unread)


def replay(body: bytes, receive: Receive) -> Receive:
    """What the application receives: the body that was read already, then whatever comes."""
    waiting = [body]

    async def receive_again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return receive_again


class Crowd:
    """The requests that are here: AT_ONCE are answered, the others wait for a moment in a line that has an end."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._here = 0
        self._of_network: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def enter(self, scope: Scope) -> AsyncIterator[None]:
        """Wait for a turn and have it. Raises Refused."""
        if scope["path"] == NEVER_WAITS:
            yield
            return
        client = scope.get("client")
        network = name_network(client[0] if client else "")
        if self._of_network[network] >= MOST_OF_NETWORK:
            raise Refused("too_many_requests", later=RETRY_SECONDS)
        if self._here >= MOST_HERE:
            raise Refused("busy", later=RETRY_SECONDS)
        self._here += 1
        self._of_network[network] += 1
        try:
            async with self._turn():
                yield
        finally:
            self._here -= 1
            self._of_network[network] -= 1
            if not self._of_network[network]:
                del self._of_network[network]

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError as exc:
            raise Refused("busy", later=RETRY_SECONDS) from exc
        try:
            yield
        finally:
            self._turns.release()
