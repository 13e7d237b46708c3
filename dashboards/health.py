"""`/health`: `ok`, or `degraded` with the part that does not answer; 503 only without the database.

It is looked at once a second at most, on a connection of its own: however many ask, and whatever else is going on, they
are answered, and asking costs nothing.
"""

import asyncio
import time

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from vault.settings import Settings
from vault.steps import BrokerGone, connect_redis
from vault.store import DatabaseError
from vault.store.pool import make_pool

FRESH_SECONDS = 1.0
OK, SILENT = "ok", "no answer"

router = APIRouter()


class Health:
    """Of this process's database and Redis. `open` before the first look."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._pool, self._lock = settings, make_pool(settings, most=1), asyncio.Lock()
        self._parts: dict[str, str] = {}
        self._seen_at = float("-inf")

    def open(self) -> None:
        self._pool.open()

    def close(self) -> None:
        self._pool.close()

    async def look(self) -> dict[str, str]:
        """Each part and how it is; whoever asks meanwhile waits for the same look."""
        async with self._lock:
            if time.monotonic() - self._seen_at > FRESH_SECONDS:
                self._parts = await run_in_threadpool(self._check)
                self._seen_at = time.monotonic()
        return self._parts

    def _check(self) -> dict[str, str]:
        parts = {"database": OK, "redis": OK}
        try:
            with self._pool.connection() as conn:
                conn.execute("select 1")
        except DatabaseError:
            parts["database"] = SILENT
        try:
            connect_redis(self._settings).ping()
        except BrokerGone:
            parts["redis"] = SILENT
        return parts


@router.get("/health")
async def show_health(request: Request) -> JSONResponse:
    health: Health = request.app.state.health
    parts = await health.look()
    state = OK if set(parts.values()) == {OK} else "degraded"
    return JSONResponse({"state": state, **parts}, status_code=200 if parts["database"] == OK else 503)
