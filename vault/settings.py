"""Every setting, read once into one frozen object that is passed along.

In come (later wins): the defaults below, `<home>/facewarden.toml` or the file named by `--config`, the environment
(`DATABASE_URL`, `REDIS_URL`, `FACEWARDEN_<SECTION>_<NAME>`), the command line. No other file reads the environment.
"""

import dataclasses
import difflib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vault.errors import SettingError
from vault.files import read_small
from vault.money import CURRENCY, Rate, parse_rate
from vault.quiet import QUIET
from vault.toml import MOST_BYTES, Misfit, build_record, misfit_type, parse_toml

PREFIX = "FACEWARDEN_"
# of the same form, and no fields: which file, and what the launcher and the tests read
AROUND = {PREFIX + name for name in ("CONFIG", "PYTHON", "VENV", "EVAL_DATA")}
LONGEST_SOCKET_PATH = 107  # bytes, sun_path of Linux less its NUL
NUMBER = re.compile(r"-?(?:[0-9]{1,300}(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # a path with these cannot be written down anywhere
PASSWORD_IN_AUTHORITY = re.compile(r"(://[^/?#:@\s]*:)[^\s]*@")  # up to the last @: too much rather than too little
PASSWORD_AS_OPTION = re.compile(r"((?:ssl)?password\s*=\s*)(?:'(?:\\.|[^'\\])*'|[^\s&]+)", re.IGNORECASE)
DATABASE_FORM = "no address of a PostgreSQL, such as postgresql://user:password@host:5432/name"
MOST_NOT_ME_DAYS = 3 * 365  # the longest that BIPA lets anybody keep a face (740 ILCS 14/15(a))
HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[?[0-9A-Fa-f:.]{2,45}\]?")
NOBODY = ("0.0.0.0", "::", "127.0.0.1", "::1", "localhost")  # noqa: S104  what listens everywhere, and loopback
RUNTIMES = ("auto", "onnxruntime", "openvino", "openvino-bf16", "cuda")
REDIS_FORM = "no address of a Redis, such as redis://:password@host:6379/0, rediss://... or redis+socket:///path"


@dataclass(frozen=True, kw_only=True, slots=True)
class Servers:
    database_url: str = ""  # empty: the embedded PostgreSQL
    redis_url: str = ""  # empty: the embedded Valkey

    def __post_init__(self) -> None:
        if self.database_url and not is_database_address(self.database_url):
            raise ValueError(f"database_url: {DATABASE_FORM}")
        if self.redis_url and not is_redis_address(self.redis_url):
            raise ValueError(f"redis_url: {REDIS_FORM}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Faces:
    pack: str = "opencv-zoo"
    commercial: bool = False  # true refuses packs whose licence is for research only
    models: Path | None = None  # where packs added by hand lie; default <home>/models
    runtime: str = "auto"  # what runs the recogniser; auto: the fastest here whose vectors hold

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise ValueError(f"runtime: one of {', '.join(RUNTIMES)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Matching:
    false_alerts_per_day: float = 1.0
    faces_per_day: float = 10_000.0  # harvested faces a day that the budget is spread over
    not_me_days: int = 180  # for how long a face is known again that a person said is not theirs

    def __post_init__(self) -> None:
        for name in ("false_alerts_per_day", "faces_per_day"):
            if not 0 < getattr(self, name) < 1e12:
                raise ValueError(f"{name}: must be above 0")
        if not 1 <= self.not_me_days <= MOST_NOT_ME_DAYS:
            raise ValueError(f"not_me_days: must be between 1 and {MOST_NOT_ME_DAYS}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Web:
    host: str = "127.0.0.1"
    port: int = 8600
    public_url: str = ""  # how people outside reach the site; default http://host:port
    metrics_token: str = ""  # whoever carries it may read /metrics from elsewhere; this machine always may
    proxies: str = ""  # addresses or networks of reverse proxies, whose X-Forwarded-For says who the visitor is

    def __post_init__(self) -> None:
        if self.metrics_token and not (self.metrics_token.isascii() and len(self.metrics_token) >= 16):
            raise ValueError("metrics_token: 16 letters or more, ASCII")
        if not 1 <= self.port <= 65_535:
            raise ValueError("port: must be between 1 and 65535")
        try:
            _ = [ip_network(each) for each in self.proxies.split()]
        except ValueError as exc:
            raise ValueError(f"proxies: {exc}; addresses or networks with spaces between them") from exc


@dataclass(frozen=True, kw_only=True, slots=True)
class Organisation:
    """Who runs this deployment: stands in every message and on every page on which somebody consents."""

    name: str = ""
    contact: str = ""  # how people reach a human: a mail address, a telephone number
    privacy_url: str = ""  # where it says what is done with people's data

    def __post_init__(self) -> None:
        for name in ("name", "contact", "privacy_url"):
            value = getattr(self, name)
            if len(value) > 200 or not value.isprintable():
                raise ValueError(f"{name}: at most 200 letters in one line")
        if self.privacy_url and urlsplit(self.privacy_url).scheme not in ("http", "https"):
            raise ValueError("privacy_url: a web address, such as https://example.org/privacy")

    @property
    def is_named(self) -> bool:
        return bool(self.name and self.contact and self.privacy_url)


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    mail_folder: Path | None = None  # default <home>/mail; one .eml a message
    sender: str = "facewarden@localhost"
    alert_minutes: int = 60  # a person gets at most one message about finds in this time; 0: one a find

    def __post_init__(self) -> None:
        if not 0 <= self.alert_minutes <= 7 * 24 * 60:
            raise ValueError("alert_minutes: must be between 0 and 10080, a week")


@dataclass(frozen=True, kw_only=True, slots=True)
class Crawl:
    cards: Path | None = None  # folder of source cards that `up` watches; default <home>/cards
    hash_lists: tuple[Path, ...] = ()  # files of MD5 or SHA-256 digests, one a line, of illegal pictures
    chromium: str = ""  # path of a Chromium; default: looked for on PATH
    own_addresses: str = ""  # names and addresses under which we are reached from outside, beside web.public_url
    page_seconds: float = 60.0  # that a page or a picture may take in all, however slowly it drips
    render_seconds: float = 50.0  # that a rendered page may take in all, whatever it does

    def __post_init__(self) -> None:
        for name in ("page_seconds", "render_seconds"):
            if not 1 <= getattr(self, name) <= 600:
                raise ValueError(f"{name}: must be between 1 and 600")
        for host in split_hosts(self.own_addresses):
            if not HOST.fullmatch(host):
                raise ValueError(f"own_addresses: {host!r} is neither a name nor an address, without port and scheme")
        if any(os.pathsep in str(path) for path in self.hash_lists):
            raise ValueError(f"hash_lists: a path with {os.pathsep!r} in it cannot be passed on")


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    heads: Path | None = None  # where signed heads of the ledger are kept; default <home>/heads


@dataclass(frozen=True, kw_only=True, slots=True)
class Money:
    """What a face costs is shown in the listing's own currency, and in this one where the operator's table has it."""

    currency: str = ""  # such as EUR
    rates: tuple[str, ...] = ()  # "2026-11-02 USD 0.92": what one USD is worth in `currency` from that day on

    def __post_init__(self) -> None:
        if self.currency and not CURRENCY.fullmatch(self.currency):
            raise ValueError("currency: a code in capital letters, such as EUR")
        if self.rates and not self.currency:
            raise ValueError("rates: without a currency nothing is converted")
        try:
            self.list_rates()
        except ValueError as exc:
            raise ValueError(f"rates: {exc}") from exc

    def list_rates(self) -> list[Rate]:
        return [parse_rate(each) for each in self.rates]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    home: Path
    key_file: Path
    workers: int = 0  # 0: one a core
    servers: Servers = field(default_factory=Servers)
    faces: Faces = field(default_factory=Faces)
    matching: Matching = field(default_factory=Matching)
    web: Web = field(default_factory=Web)
    organisation: Organisation = field(default_factory=Organisation)
    delivery: Delivery = field(default_factory=Delivery)
    crawl: Crawl = field(default_factory=Crawl)
    money: Money = field(default_factory=Money)
    evidence: Evidence = field(default_factory=Evidence)

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError("workers: must be 0 or more")

    @property
    def worker_count(self) -> int:
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def models_folder(self) -> Path:
        return self.faces.models or self.home / "models"

    @property
    def mail_folder(self) -> Path:
        return self.delivery.mail_folder or self.home / "mail"

    @property
    def cards_folder(self) -> Path:
        return self.crawl.cards or self.home / "cards"

    @property
    def heads_folder(self) -> Path:
        return self.evidence.heads or self.home / "heads"

    @property
    def public_url(self) -> str:
        return (self.web.public_url or f"http://{self.web.host}:{self.web.port}").rstrip("/")

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """Names and addresses that are this deployment, which no crawl may reach. Loopback is refused anyway."""
        hosts = (urlsplit(self.web.public_url).hostname or "", self.web.host, *split_hosts(self.crawl.own_addresses))
        return tuple(sorted({host for host in map(spell_host, hosts) if host and host not in NOBODY}))

    @property
    def own_ports(self) -> tuple[int, ...]:
        """Ports of ours on loopback: of the dashboard and of the servers."""
        ports = (read_port(url) for url in (self.servers.database_url, self.servers.redis_url))
        return tuple(sorted({self.web.port, *filter(None, ports)}))

    def replace(self, section: str, **changes: Any) -> "Settings":
        """A copy in which the fields of one section (or, with section "", of the top) are changed. Raises
        SettingError for a value that may not be."""
        try:
            if not section:
                return dataclasses.replace(self, **changes)
            return dataclasses.replace(self, **{section: dataclasses.replace(getattr(self, section), **changes)})
        except ValueError as exc:
            raise SettingError(f"{section}{'.' if section else ''}{exc}", mend="give another value") from exc


def split_hosts(text: str) -> list[str]:
    return text.replace(",", " ").split()


def spell_host(host: str) -> str:
    """One spelling of a name or an address: small letters, no dot at the end, no brackets."""
    bare = host.lower().rstrip(".").removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return bare


def read_port(url: str) -> int | None:
    """The port that an address names, if one parser can tell."""
    try:
        return urlsplit(url).port
    except ValueError:
        return None


def is_database_address(text: str) -> bool:
    """Would libpq take it, and is nothing of a password taken for a host or a port, which errors repeat?"""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(text)
    except ProgrammingError:
        return False
    host, ports = str(parts.get("host") or ""), str(parts.get("port") or "")
    return "@" not in host[1:] and all(is_port(port) for port in ports.split(",") if port)


def is_redis_address(text: str) -> bool:
    """One of the schemes that Celery and redis-py both know, and nothing in it that either cannot read."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme == "redis+socket":
        return bool(parts.netloc or parts.path)
    known = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and port != 0
    return known and re.fullmatch(r"/?|/[0-9]{1,4}", parts.path) is not None


def is_port(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= 65_535


def mask_passwords(text: str) -> str:
    """An address of a server, for people to see."""
    return PASSWORD_AS_OPTION.sub(r"\1***", PASSWORD_IN_AUTHORITY.sub(r"\1***@", text))


def load_settings(
    *, home: Path | str | None = None, config: Path | str | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """The settings of this process. Raises SettingError with file, line, field and mend."""
    env = dict(os.environ if environ is None else environ)
    check_names(env)
    folder = find_home(home, env)
    if config == "":
        raise SettingError("--config is empty", mend="name a settings file, or leave --config out")
    config = config or env.get(PREFIX + "CONFIG") or None
    table: dict[str, Any] = {}
    text, source = "", Path(config) if config else folder / "facewarden.toml"
    found = read_environment(env)
    try:
        if config is not None and not source.is_file():
            raise SettingError(f"no such settings file: {source}", mend="check the path given with --config")
        if source.is_file():
            text = read_small(source, MOST_BYTES).decode("utf-8")
            table = parse_toml(text)
            if "home" in table:
                raise Misfit("unknown field", field="home", mend="choose the state folder with --home")
        for path, value in found.items():
            put_value(table, path, value, text)
        table.setdefault("key_file", str(folder.with_name(folder.name + ".key")))
        table["home"] = str(folder)
        return make_absolute(build_record(Settings, table, text))
    except Misfit as exc:
        variable = next((variable_name(path) for path in found if ".".join(path) == exc.field), None)
        if variable:  # the last word was the environment's, whatever stands in the file
            raise SettingError(f"{variable}: {exc.message}", mend=exc.mend or f"correct or unset {variable}") from exc
        place = f"{source}:{exc.line}: " if exc.line else f"{source}: " if text else ""
        named = f"{exc.field}: " if exc.field else ""
        raise SettingError(f"{place}{named}{exc.message}", mend=exc.mend or "correct it there") from exc
    except OSError as exc:
        raise SettingError(f"cannot read {source}: {exc.strerror or exc}", mend="check the file") from exc
    except (ValueError, OverflowError, RuntimeError) as exc:  # no UTF-8, a number of 400 digits, ~nobody, [[[[...
        raise SettingError(f"cannot read {source}: {exc}", mend="check the file") from exc


def find_home(home: Path | str | None, env: Mapping[str, str]) -> Path:
    """The state folder, links followed: the argument, else FACEWARDEN_HOME, else `facewarden` under the user's data
    folder. Raises SettingError."""
    named = home if home is not None else env.get(PREFIX + "HOME") or None
    if named == "":
        raise SettingError("--home is empty", mend="name a folder, or leave --home out")
    try:
        folder = Path(named or data_folder(env) / "facewarden").expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as exc:
        raise SettingError(
            f"no state folder can be found by {str(named or '~')!r}: {exc}", mend="give its whole path with --home"
        ) from exc
    if UNPRINTABLE.search(str(folder)) or folder == folder.parent:
        raise SettingError(f"{str(folder)!r} cannot be a state folder", mend="choose another --home")
    return folder


def data_folder(env: Mapping[str, str] | None = None) -> Path:
    """The user's data folder (XDG Base Directory Specification 0.8, XDG_DATA_HOME)."""
    env = os.environ if env is None else env
    if env.get("XDG_DATA_HOME"):
        return Path(env["XDG_DATA_HOME"])
    return Path(env["HOME"]) / ".local/share" if env.get("HOME") else Path.home() / ".local/share"


def config_folder(env: Mapping[str, str] | None = None) -> Path:
    """Where a person's own keys lie, outside every state folder (XDG_CONFIG_HOME). Raises SettingError."""
    env = os.environ if env is None else env
    try:
        base = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else Path.home() / ".config"
    except RuntimeError as exc:
        raise SettingError("this user has no home folder", mend="set HOME or XDG_CONFIG_HOME") from exc
    return base / "facewarden"


def read_environment(env: Mapping[str, str]) -> dict[tuple[str, ...], Any]:
    """The settings that stand in the environment, by path; values have the type of their field."""
    found: dict[tuple[str, ...], Any] = {}
    for path, kind in list_paths(Settings):
        name = variable_name(path)
        if name not in env or path == ("home",) or env[name] == "":
            continue
        raw = env[name]
        if kind is int or kind is float:
            if not NUMBER.fullmatch(raw):
                raise SettingError(f"{name}: {raw!r} is not a number", mend=f"unset {name} or make it a number")
            found[path] = int(raw) if kind is int and raw.removeprefix("-").isdigit() else float(raw)
        elif kind is bool:
            if raw not in ("true", "false"):
                raise SettingError(f"{name}: {raw!r} is not true or false", mend="write true or false")
            found[path] = raw == "true"
        elif kind is tuple:
            found[path] = [part for part in raw.split(os.pathsep) if part]
        else:
            found[path] = raw
    return found


def check_names(env: Mapping[str, str]) -> None:
    """A misspelt variable would be a setting that silently is not. Raises SettingError."""
    known = {variable_name(path) for path, _kind in list_paths(Settings)} | AROUND
    for name in sorted(env):
        if name.startswith(PREFIX) and name not in known:
            words = [each.removeprefix(PREFIX) for each in known]
            near = difflib.get_close_matches(name.removeprefix(PREFIX).upper(), words, 1)
            guess = f"did you mean {PREFIX}{near[0]}?" if near else "README.md lists the settings"
            raise SettingError(f"{name}: there is no such setting; {guess}", mend=f"correct or unset {name}")


def list_paths(cls: type, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], type]]:
    """Every leaf of the settings: its path and its plain type (tuple for a list)."""
    leaves: list[tuple[tuple[str, ...], type]] = []
    for item in dataclasses.fields(cls):
        if dataclasses.is_dataclass(item.type):
            leaves += list_paths(item.type, (*path, item.name))  # type: ignore[arg-type]
        else:
            kind = tuple if "tuple" in str(item.type) else item.type
            leaves.append(((*path, item.name), kind if isinstance(kind, type) else str))
    return leaves


def variable_name(path: tuple[str, ...]) -> str:
    """`DATABASE_URL` and `REDIS_URL` keep the names everybody uses; the rest is FACEWARDEN_<SECTION>_<NAME>."""
    return path[-1].upper() if path[0] == "servers" else PREFIX + "_".join(path).upper()


def write_environment(settings: Settings) -> dict[str, str]:
    """The variables from which a child process reads the same settings again."""
    env: dict[str, str] = {}
    for path, kind in list_paths(Settings):
        value: Any = settings
        for name in path:
            value = getattr(value, name)
        if value is None or value == "" or value == ():
            continue
        if kind is bool:
            value = "true" if value else "false"
        env[variable_name(path)] = os.pathsep.join(map(str, value)) if kind is tuple else str(value)
    return env


PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE")


def child_environment(settings: Settings) -> dict[str, str]:
    """What a process of ours finds in its environment: our settings, and of our own environment only what it needs."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed_on, **QUIET, **write_environment(settings)}


def put_value(table: dict[str, Any], path: tuple[str, ...], value: Any, text: str = "") -> None:
    """Raises Misfit where the file (`text`) has something else than a section."""
    for depth, name in enumerate(path[:-1], 1):
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise misfit_type("a table", table, text, path[:depth])
    table[path[-1]] = value


def make_absolute(settings: Settings) -> Settings:
    """Paths from here on: our children run elsewhere."""
    for path, _kind in list_paths(Settings):
        section, name = path if len(path) == 2 else ("", path[0])
        value = getattr(getattr(settings, section) if section else settings, name)
        if isinstance(value, Path):
            settings = settings.replace(section, **{name: value.absolute()})
        elif isinstance(value, tuple):
            absolute = tuple(each.absolute() if isinstance(each, Path) else each for each in value)
            settings = settings.replace(section, **{name: absolute})
    return settings
