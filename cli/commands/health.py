"""Is what a process of ours needs within reach? Exit code 0 or 1, for the health checks of compose.yaml.

example:
  ./facewarden health            (database and Redis answer)
  ./facewarden health --web      (the web server of this machine answers, and the database answers it)
"""

import argparse
import http.client
import json

from vault.errors import ServerError
from vault.settings import Settings
from vault.terminal import say

WEB_SECONDS = 10.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  an address to listen on, and one to ask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--web", action="store_true", help="ask the web server instead")


def run(args: argparse.Namespace, settings: Settings) -> int:
    healthy, told = ask_web(settings) if args.web else ask_servers(settings)
    say(told)
    return 0 if healthy else 1


def ask_servers(settings: Settings) -> tuple[bool, str]:
    """Do the database and a Redis that evicts nothing answer? And what was said, as JSON."""
    from cli.servers import find_running  # imported late: asking the web server needs none of it
    from vault.steps import check_broker
    from vault.store import DatabaseError, connect

    settings = find_running(settings)
    told = {"database": "ok", "redis": "ok"}
    try:
        with connect(settings) as conn:
            conn.execute("select 1")
    except (ServerError, DatabaseError) as exc:
        told["database"] = str(exc)
    try:
        check_broker(settings)
    except ServerError as exc:
        told["redis"] = str(exc)
    return set(told.values()) == {"ok"}, json.dumps(told)


def ask_web(settings: Settings) -> tuple[bool, str]:
    """What `/health` answers, and whether with 200: the server is there and has its database."""
    try:
        status, text = fetch_health(settings)
    except (OSError, http.client.HTTPException) as exc:
        return False, f"the web server does not answer: {exc}"
    return status == 200, text


def answers(settings: Settings) -> bool:
    """Is there a web server on the port, in whatever state?"""
    try:
        fetch_health(settings)
    except (OSError, http.client.HTTPException):
        return False
    return True


def fetch_health(settings: Settings) -> tuple[int, str]:
    """Raises OSError, HTTPException."""
    host = EVERYWHERE.get(settings.web.host, settings.web.host)
    connection = http.client.HTTPConnection(host, settings.web.port, timeout=WEB_SECONDS)
    try:
        connection.request("GET", "/health", headers={"Host": "127.0.0.1"})
        answer = connection.getresponse()
        return answer.status, answer.read(1000).decode("utf-8", "replace")
    finally:
        connection.close()
