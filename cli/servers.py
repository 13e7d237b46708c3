"""The database for a single command: the running one, or the embedded one for as long as the command lasts."""

import contextlib
from collections.abc import Iterator

from cli.setup import find_database, open_keys, require_deployment
from cli.supervisor import Supervisor, is_running, read_state
from vault.embedded import with_embedded_urls
from vault.keys import Keys
from vault.settings import Settings
from vault.store import Connection


def find_running(settings: Settings) -> Settings:
    """The settings with the addresses of the servers that run on this state folder, if any do."""
    state = read_state(settings.home)
    if state is None:
        return with_embedded_urls(settings)
    return settings.replace("servers", database_url=state["database_url"], redis_url=state["redis_url"])


@contextlib.contextmanager
def open_database(settings: Settings) -> Iterator[tuple[Settings, Keys, Connection]]:
    """Settings with addresses, the keys, and a connection. Raises DeploymentMissing, ServerError, StoreError,
    KeyFileError."""
    require_deployment(settings)
    with contextlib.ExitStack() as stack:
        if is_running(settings.home) or settings.servers.database_url:
            settings = find_running(settings)
        else:
            open_keys(settings)  # before anything is started
            supervisor = stack.enter_context(Supervisor(settings=settings).running())
            settings = with_embedded_urls(settings)
            supervisor.start_postgres(settings.servers.database_url)
        keys = open_keys(settings)
        conn = stack.enter_context(contextlib.closing(find_database(settings, keys)))
        yield settings, keys, conn
