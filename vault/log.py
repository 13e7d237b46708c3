"""Structured logs: one JSON line an event, with a fixed message and fields.

Processes of a supervisor log to standard error, which is a file of the state folder or a container's log; what a person
starts talks to them in words and logs to a file there.

Never log image bytes, vectors, names or addresses. Every URL in a field or an error loses what could be a token
(`vault/urls.py`), and `clean_text` keeps a line one line.
"""

import logging
import os
import re
import subprocess
from pathlib import Path
from typing import IO, Any

import structlog

from vault.letters import dump_json
from vault.tokens import hide_tokens
from vault.urls import hide_urls

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean_text(text: str, limit: int = 200) -> str:
    """`text` without control characters, direction overrides and halves of surrogate pairs, cut to `limit`
    characters and marked when cut."""
    text = _CONTROL.sub(" ", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _clean_fields(_logger: object, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    return {key: clean_field(key, value) if isinstance(value, str) else value for key, value in event.items()}


def clean_field(key: str, value: str) -> str:
    """No address keeps what could be a token; a traceback keeps its lines."""
    return hide_urls(value) if key == "exception" else clean_text(hide_urls(value))


def _hide_tokens(_logger: object, _name: str, line: Any) -> str:
    """The last thing done to a line, whoever logs it: what an error says, and where it came from, may hold a token."""
    return hide_tokens(str(line))


def set_up_logging(role: str, *, level: int = logging.INFO, to: IO[str] | None = None) -> None:
    """Send structlog and the standard library's logging, warnings included, to `to` as JSON lines that name the role;
    without it nowhere."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _clean_fields,
    ]
    handler = logging.StreamHandler(to) if to is not None else logging.NullHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=dump_json),
                _hide_tokens,
            ],
        )
    )
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    logging.captureWarnings(True)
    for talkative in ("httpx2", "httpcore2", "scrapy", "twisted", "scrapy-playwright", "asyncio"):
        logging.getLogger(talkative).setLevel(logging.WARNING)  # they log addresses, which may carry tokens
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(role=role)


def open_log(path: Path, most_bytes: int) -> IO[str]:
    """A log file (mode 0600) to append to; a larger one is moved aside first. Raises OSError."""
    if path.exists() and path.stat().st_size > most_bytes:
        path.replace(path.with_suffix(".old.log"))
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8")


def child_stderr() -> IO[str] | int:
    """Where a child of ours may write its own log: where ours goes, else nowhere."""
    (handler, *_others) = logging.root.handlers or [logging.NullHandler()]
    return handler.stream if isinstance(handler, logging.StreamHandler) else subprocess.DEVNULL


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
