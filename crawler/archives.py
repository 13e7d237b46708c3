"""Fetching archives: streamed through the guard straight into an encrypted blob, up to the card's cap.

Scrapy holds a body in memory; an archive may be gigabytes. Opening it is the step `open_archives`, in the box.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2

from vault.blobs import BlobWriter
from vault.errors import InputRefused

CONNECT_SECONDS, READ_SECONDS = 20.0, 60.0
TOTAL_SECONDS = 3600.0
HEAD_BYTES = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchedArchive:
    """What came back: a sealed blob for status 200, else none. `md5` is for the hash-list gate, `head` the first
    bytes."""

    status: int
    headers: dict[str, str]
    blob: BlobWriter | None
    md5: str = ""
    head: bytes = b""


async def fetch_archive(
    url: str, proxy: str, headers: Mapping[str, str], folder: Path, most_bytes: int
) -> FetchedArchive:
    """Raises InputRefused: body_too_large, body_empty; httpx2.HTTPError; TimeoutError."""
    timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    async with (
        asyncio.timeout(TOTAL_SECONDS),
        httpx2.AsyncClient(proxy=proxy, trust_env=False, timeout=timeout, verify=False) as client,
        client.stream("GET", url, headers={**headers, "Accept-Encoding": "identity"}) as response,
    ):
        received = {name.lower(): value for name, value in response.headers.items()}
        if response.status_code != 200:
            return FetchedArchive(status=response.status_code, headers=received, blob=None)
        md5, head = hashlib.md5(usedforsecurity=False), b""
        with BlobWriter(folder) as writer:
            async for piece in response.aiter_bytes():
                if writer.size + len(piece) > most_bytes:
                    raise InputRefused("body_too_large", f"more than {most_bytes} bytes")
                md5.update(piece)
                head += piece[: HEAD_BYTES - len(head)]
                writer.write(piece)
            if not writer.size:
                raise InputRefused("body_empty")
            writer.seal()
    return FetchedArchive(status=200, headers=received, blob=writer, md5=md5.hexdigest(), head=head)
