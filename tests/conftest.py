"""What tests stand on: the embedded servers, a fresh database each, keys, the models loaded once."""

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from cli.supervisor import Supervisor
from tests.fakes import Answer, Site
from vault.keys import Keys, load_keys, make_key_file
from vault.settings import Delivery, Organisation, Servers, Settings
from vault.steps import connect_redis
from vault.store import Connection, connect
from vault.store.deployment import check_deployment
from vault.store.migrate import migrate
from workers.context import Context
from workers.faces.engine import Engine
from workers.faces.packs import opencv_zoo

_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis keeps its examples where pytest keeps its own, which `./facewarden test` moves out of the checkout."""
    if config.cache is not None:
        set_hypothesis_home_dir(config.cache.mkdir("hypothesis"))


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The embedded PostgreSQL and Valkey, running; the database `facewarden` is migrated and serves as a template."""
    home = tmp_path_factory.mktemp("servers") / "home"
    supervisor = Supervisor(settings=Settings(home=home, key_file=home.with_name("home.key")))
    with supervisor.running():
        settings = supervisor.start_servers()
        with connect(settings) as conn:
            migrate(conn)
        yield settings.servers


@contextmanager
def make_settings(servers: Servers, folder: Path) -> Iterator[Settings]:
    """Settings with a state folder (in `folder`) and a migrated database of their own."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(servers.database_url.replace("/facewarden?", "/postgres?"), autocommit=True) as admin:
        admin.execute(f"create database {name} template facewarden".encode())
        home = folder / "home"
        home.mkdir()
        made = Settings(
            home=home,
            key_file=folder / "home.key",
            organisation=Organisation(
                name="Test Bank", contact="privacy@bank.example", privacy_url="https://bank.example/privacy"
            ),
            delivery=Delivery(alert_minutes=0),
            servers=Servers(
                database_url=servers.database_url.replace("/facewarden?", f"/{name}?"), redis_url=servers.redis_url
            ),
        )
        connect_redis(made).flushall()
        yield made
        admin.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def settings(servers: Servers, tmp_path: Path) -> Iterator[Settings]:
    with make_settings(servers, tmp_path) as made:
        yield made


@pytest.fixture
def keys(settings: Settings) -> Keys:
    """The key file, and the database bound to it: a deployment."""
    make_key_file(settings.key_file)
    keys = load_keys(settings.key_file)
    with connect(settings) as connection:
        check_deployment(connection, keys)
    return keys


@pytest.fixture
def conn(settings: Settings, keys: Keys) -> Iterator[Connection]:
    with connect(settings) as connection:
        yield connection


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine(opencv_zoo())


@pytest.fixture
def context(settings: Settings, keys: Keys, conn: Connection, engine: Engine) -> Iterator[Context]:
    """A worker's context on this test's database, with the models that were loaded once."""
    made = Context(settings)
    made.__dict__["engine"] = engine
    yield made
    made.close()


@pytest.fixture
def make_site() -> Iterator[Callable[[Callable[[str], Answer]], Site]]:
    sites: list[Site] = []

    def make(answer: Callable[[str], Answer]) -> Site:
        sites.append(Site(answer))
        return sites[-1]

    yield make
    for site in sites:
        site.shutdown()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
