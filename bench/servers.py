"""Servers of a bench's own: in a folder that is gone afterwards, with a key, an empty database and no workers."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cli.setup import prepare_database, prepare_keys
from cli.supervisor import Supervisor
from crawler.approval import DemoApprovers
from vault.embedded import make_home
from vault.settings import Settings
from vault.store.deployment import DeploymentKind


@contextlib.contextmanager
def start_servers(name: str) -> Iterator[Settings]:
    """The settings of running servers. Raises FacewardenError."""
    with tempfile.TemporaryDirectory(prefix=f"facewarden-{name}-") as folder:
        home = Path(folder) / "home"
        supervisor = Supervisor(settings=Settings(home=home, key_file=home.with_name("home.key")))
        with supervisor.running():
            settings = supervisor.start_servers()
            prepare_database(settings, prepare_keys(settings), DeploymentKind.DEMO).close()
            yield settings


def make_demo(home: Path) -> DemoApprovers:
    """A demo's deployment in a state folder that does not exist yet, stopped again; and its approvers. Raises
    FacewardenError."""
    supervisor = Supervisor(settings=Settings(home=home, key_file=home.with_name(f"{home.name}.key")))
    make_home(home)
    with supervisor.running():
        settings = supervisor.start_servers()
        keys = prepare_keys(settings)
        with contextlib.closing(prepare_database(settings, keys, DeploymentKind.DEMO)) as conn:
            return DemoApprovers(conn, keys)
