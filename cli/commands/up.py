"""run everything on this machine until Ctrl-C

Starts what no address is given for (PostgreSQL, Redis), brings the database up to date, then runs workers, the
sweeper, the web server and the crawls of the cards folder.

example:
  ./facewarden up
  DATABASE_URL=postgresql://... REDIS_URL=redis://... ./facewarden up --only worker     (one part of many machines)
"""

import argparse
import datetime as dt
import shlex
import signal
import sys
import time

from cli.commands.enrol import ORGANISATION_LINES
from cli.commands.health import answers
from cli.logs import find_log, start_log
from cli.setup import check_port, name_user, prepare_database, prepare_keys, prepare_pack
from cli.supervisor import Supervisor
from vault.embedded import make_folders
from vault.errors import ServerError
from vault.gate import load_gate
from vault.keys import Keys
from vault.log import get_logger
from vault.settings import Settings
from vault.store.access import make_link
from vault.store.deployment import DeploymentKind
from vault.terminal import Screen
from workers.faces.packs import describe_pack

PARTS = ("web", "worker", "people", "crawler")
LOGIN_LASTS = dt.timedelta(hours=1)
WEB_SECONDS = 60.0

log = get_logger(__name__)


class Stop(Exception):
    """Somebody asked us to stop."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only", choices=(*PARTS, "migrate"), help="one part only, or only bring the database up to date"
    )
    parser.add_argument("--workers", type=int, help="worker processes (default: one a core)")
    parser.add_argument("--port", type=int, help="port of the web server (default 8600)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.workers is not None:
        settings = settings.replace("", workers=args.workers)
    if args.port is not None:
        settings = settings.replace("web", port=args.port)
    parts = (args.only,) if args.only else PARTS
    console = Screen(stderr=True)
    listen_for_stop()
    try:
        with Supervisor(settings=settings).running() as supervisor:
            settings = start_base(supervisor, console)
            if args.only == "migrate":
                return 0
            start_parts(supervisor, parts)
            if "web" in parts:
                console.print("starting the web server")
                wait_for_web(supervisor)
                show_door(settings)
            if not settings.organisation.is_named:
                console.print(f"nobody can enrol yet: add to {settings.home / 'facewarden.toml'}")
                console.print(*ORGANISATION_LINES.splitlines(), sep="\n")
            console.print("running; Ctrl-C stops")
            while True:
                supervisor.poll()
                time.sleep(0.2)
    except Stop:
        console.print("stopped")
    return 0


def listen_for_stop() -> None:
    """SIGTERM and Ctrl-C end what runs in good order."""

    def stop(*_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise Stop

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def start_base(supervisor: Supervisor, console: Screen, kind: DeploymentKind | None = None) -> Settings:
    """Hash lists, models, keys, servers, schema: what every part needs, for a deployment of this `kind` if one is
    wanted. Says which models run under which licence. Raises SettingError, ModelError, CalibrationError, KeyFileError,
    ServerError, StoreError, DeploymentError."""
    load_gate(supervisor.settings)
    pack = prepare_pack(supervisor.settings)
    told = describe_pack(pack)
    console.print(f"pack {told['pack']}: {told['licence']}")
    for name in ("detector", "recogniser"):
        console.print(f"  {name:10} sha256 {told[f'{name}_sha256']}")
    supervisor.tell = console.print
    make_folders(supervisor.settings.home)
    start_log("up", supervisor.settings)
    first = not supervisor.settings.key_file.exists()
    keys = prepare_keys(supervisor.settings)
    if first:
        tell_key_file(console, supervisor.settings, keys)
    console.print("starting the servers")
    settings = supervisor.start_servers()
    prepare_database(settings, keys, kind).close()
    return settings


def tell_key_file(console: Screen, settings: Settings, keys: Keys) -> None:
    """At the first start: what must not be lost, and by what our evidence is known."""
    console.print(f"first start: the key file {settings.key_file} was made")
    console.print("  copy it now to a place that is not this machine: without it nothing stored here can be read")
    console.print(f"  signer's fingerprint: {keys.fingerprint}")
    console.print("  give that to whoever checks evidence; ./facewarden keys fingerprint prints it again")


def start_parts(supervisor: Supervisor, parts: tuple[str, ...]) -> None:
    settings = supervisor.settings
    if "web" in parts:
        check_port(settings.web.host, settings.web.port, "--port")
        supervisor.start_command("web", "web", ["web"])
    if "worker" in parts:
        supervisor.start_command("clock", "clock", ["clock"])
        for number in range(1, settings.worker_count + 1):
            name = f"worker-{number}"
            supervisor.start_command(name, "worker", ["worker", "--name", name])
    if "people" in parts:
        supervisor.start_command("people", "people", ["worker", "--people", "--name", "people"])
    if "crawler" in parts:
        supervisor.start_command("crawler", "crawler", ["crawler"])


def wait_for_web(supervisor: Supervisor, patience: float = WEB_SECONDS) -> None:
    """Until the web server answers, whatever it answers. Raises ServerError."""
    settings, deadline = supervisor.settings, time.monotonic() + patience
    while not answers(settings):
        supervisor.poll()
        if time.monotonic() > deadline:
            raise ServerError("the web server does not answer", mend=f"see {find_log('web', settings)}")
        time.sleep(0.1)


def show_door(settings: Settings) -> None:
    """Where the dashboard is. A link that lets somebody in goes to a terminal only: a log would keep it."""
    results = Screen()
    if sys.stdout.isatty():
        results.print(f"dashboard: {make_operator_link(settings)}   (works once, for an hour)")
    else:
        login = shlex.join(["./facewarden", "login", "--home", str(settings.home)])
        results.print(f"dashboard: {settings.public_url}   (a link that lets you in: {login})")


def make_operator_link(settings: Settings) -> str:
    """A one-time address with which the person at this terminal comes in."""
    from vault.store import connect

    with connect(settings) as conn:
        token = make_link(conn, "operator", LOGIN_LASTS, operator=f"{name_user()} (terminal)")
    return f"{settings.public_url}/enter/{token}"
