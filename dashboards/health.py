"""`/health`: `ok`, or `degraded` with the part that is not; 503 only without the database.

It is looked at once a second at most, on a connection of its own: however many ask, and whatever else is going on, they
are answered, and asking costs nothing. Codes are for everybody, paths and figures for those who may read `/metrics`.
"""

import asyncio
import time

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from dashboards.metrics import may_read
from vault.disks import check_disks
from vault.errors import Unavailable
from vault.settings import Settings
from vault.steps import BrokerGone, connect_redis
from vault.store import DatabaseError, OutOfRoom
from vault.store.pool import make_pool
from vault.store.times import check_clocks

FRESH_SECONDS = 1.0
OK, SILENT = "ok", "no answer"

router = APIRouter()


class Health:
    """Of this process's database, Redis, disks and clock. `open` before the first look."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._pool, self._lock = settings, make_pool(settings, most=1), asyncio.Lock()
        self._parts: dict[str, str] = {}
        self._seen_at = float("-inf")

    def open(self) -> None:
        self._pool.open()

    def close(self) -> None:
        self._pool.close()

    async def look(self) -> dict[str, str]:
        """Each part and how it is: "ok", or a code, with ": " and the details where there are some. Whoever asks
        meanwhile waits for the same look."""
        async with self._lock:
            if time.monotonic() - self._seen_at > FRESH_SECONDS:
                self._parts = await run_in_threadpool(self._check)
                self._seen_at = time.monotonic()
        return self._parts

    def _check(self) -> dict[str, str]:
        return {**self._check_database(), "redis": self._check_redis(), "disk": self._check_disks()}

    def _check_database(self) -> dict[str, str]:
        """Does it answer, and what does its clock say?"""
        try:
            with self._pool.connection() as conn:
                conn.execute("select 1")
                try:
                    check_clocks(conn)
                except Unavailable as exc:
                    return {"database": OK, "clock": str(exc)}
                except OutOfRoom:  # it answers and its clock is right; that was only not noted down
                    return {"database": "disk_full", "clock": OK}
        except DatabaseError:
            return {"database": SILENT, "clock": SILENT}
        return {"database": OK, "clock": OK}

    def _check_redis(self) -> str:
        try:
            connect_redis(self._settings).ping()
        except BrokerGone:
            return SILENT
        return OK

    def _check_disks(self) -> str:
        try:
            check_disks(self._settings)
        except Unavailable as exc:
            return str(exc)
        except OSError:
            return SILENT
        return OK


@router.get("/health")
async def show_health(request: Request) -> JSONResponse:
    health: Health = request.app.state.health
    parts = await health.look()
    state = OK if set(parts.values()) == {OK} else "degraded"
    shown = parts if may_read(request) else {part: said.partition(":")[0] for part, said in parts.items()}
    return JSONResponse({"state": state, **shown}, status_code=503 if parts["database"] == SILENT else 200)
