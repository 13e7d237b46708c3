"""Where a command's log goes: never to somebody's screen.

A service (what a supervisor or a container starts) logs to standard error, which is a file then; what a person starts
logs to a file of the state folder, if there is one.
"""

import contextlib
import logging
import sys
import tempfile
import traceback
from pathlib import Path

from cli.supervisor import LOG_BYTES
from vault.log import get_logger, open_log, set_up_logging
from vault.settings import Settings


def start_log(role: str, settings: Settings, *, service: bool = False) -> None:
    """Log to standard error, for a service whose standard error is no terminal; else to `logs/<role>.log`, as soon as
    that folder is there."""
    if service and not sys.stderr.isatty():
        set_up_logging(role, to=sys.stderr)
        return
    with contextlib.suppress(OSError):
        if find_log(role, settings).parent.is_dir():
            set_up_logging(role, to=open_log(find_log(role, settings), LOG_BYTES))


def find_log(role: str, settings: Settings) -> Path:
    return settings.home / "logs" / f"{role}.log"


def note_crash() -> str:
    """Keep the traceback of an error that nobody foresaw, in the log or in a file of its own; where, in words."""
    get_logger(__name__).exception("an error nobody foresaw")
    (handler,) = logging.root.handlers
    if isinstance(handler, logging.StreamHandler):
        name = getattr(handler.stream, "name", "")
        return "its details are in the log" if name in ("", "<stderr>") else f"its details are in {name}"
    with (
        contextlib.suppress(OSError),
        tempfile.NamedTemporaryFile(
            "w", prefix="facewarden-error-", suffix=".log", encoding="utf-8", errors="backslashreplace", delete=False
        ) as file,
    ):
        file.write(traceback.format_exc())
        return f"its details are in {file.name}"
    return "its details could not be kept"
