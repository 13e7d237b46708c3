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
            keys = prepare_keys(supervisor.settings)
            settings = supervisor.start_servers()
            prepare_database(settings, keys, DeploymentKind.DEMO).close()
            yield settings


def make_demo(home: Path, database_url: str = "") -> DemoApprovers:
    """A demo's deployment in a fresh state folder, its servers stopped again; and its approvers. `database_url`: of
    another PostgreSQL than the folder's own. Raises FacewardenError."""
    settings = Settings(home=home, key_file=home.with_name(f"{home.name}.key"))
    supervisor = Supervisor(settings=settings.replace("servers", database_url=database_url))
    make_home(home)
    with supervisor.running():
        keys = prepare_keys(supervisor.settings)  # a cluster without a key file is one whose key was lost
        settings = supervisor.start_servers()
        with contextlib.closing(prepare_database(settings, keys, DeploymentKind.DEMO)) as conn:
            return DemoApprovers(conn, keys)
