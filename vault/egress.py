"""What may leave the house: in come a policy and a destination, out comes a connection or a typed refusal.

A name is resolved once, every address it has is checked against our own table (`vault/addresses.py`), and the address
that was checked is dialled. `vault/guard.py` is the proxy process that asks here for every single request.
"""

import asyncio
import contextlib
import dataclasses
import functools
import ipaddress
import json
import math
import re
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from python_socks.async_.asyncio import Proxy

from vault.addresses import Address, is_public
from vault.errors import EgressRefused

DIAL_SECONDS = 15.0
GREETING_SECONDS = 5.0
STREAM_BYTES = 64 * 1024
SCHEME_PORTS = {"http": 80, "https": 443}
DEFAULT_PORTS = tuple(SCHEME_PORTS.values())
# A host as one parser sees it: letters, digits, hyphens, dots; or an IPv6 address in brackets. No user, no escapes.
AUTHORITY = re.compile(r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")
REFUSAL_TEXT = {
    "host_not_on_card": "the source card does not name this host",
    "card_expired": "the source card has expired",
    "address_refused": "the name leads to an address inside our own network or to a special-purpose one",
    "port_refused": "the source card does not open this port",
    "url_refused": "not a URL that every parser reads alike",
    "scheme_refused": "only http and https are fetched",
    "name_unknown": "the name does not resolve",
    "upstream_unavailable": "the proxy that the card asks for does not answer",
    "budget_spent": "the card's byte or time budget is spent",
    "unreachable": "the address does not answer",
    "answer_invalid": "the answer does not begin as HTTP that every parser reads alike",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What one crawl may reach. `hosts`: names, exact or `*.name`, each with an optional `:port`."""

    hosts: tuple[str, ...]
    lab: tuple[str, ...] = ()  # exact loopback HOST:PORT pairs, from the command line only
    upstream: str = ""  # "" direct, or socks5h://host:port: names are then resolved by that proxy
    most_bytes: int = 1 << 40  # of the whole crawl
    most_seconds: float = 3600.0  # of one connection
    until: float = math.inf  # seconds since the epoch: when the card expires
    password: str = ""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Policy":
        table = json.loads(text)
        return cls(**{**table, "hosts": tuple(table["hosts"]), "lab": tuple(table["lab"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    host: str  # lower case, no trailing dot, IPv6 without brackets
    port: int

    @property
    def pair(self) -> str:
        return f"{self.name}:{self.port}"

    @property
    def name(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


@dataclass(frozen=True, kw_only=True, slots=True)
class HostRule:
    """One host of a card. `wild` covers names under it, not the name itself."""

    name: str
    wild: bool
    ports: tuple[int, ...]

    def covers(self, host: str) -> bool:
        return host.endswith("." + self.name) if self.wild else host == self.name


def parse_authority(text: str, default_port: int | None) -> Target:
    """`host[:port]`, strictly. Raises EgressRefused: url_refused."""
    found = AUTHORITY.fullmatch(text)
    if found is None or (found["port"] is None and default_port is None):
        raise EgressRefused("url_refused", f"not a host: {text[:80]!r}")
    port = int(found["port"]) if found["port"] else default_port
    assert port is not None
    if found["port"] and not 1 <= port <= 65_535:
        raise EgressRefused("port_refused", f"port {port}")
    host = found["host"].lower().rstrip(".")
    if host.startswith("["):
        try:
            host = ipaddress.IPv6Address(host[1:-1]).compressed
        except ValueError as exc:
            raise EgressRefused("url_refused", "not an IPv6 address") from exc
    if not host or ".." in host:
        raise EgressRefused("url_refused", f"not a host: {text[:80]!r}")
    return Target(host=host, port=port)


def parse_target(url: str) -> tuple[Target, str]:
    """An absolute http or https URL as (target, origin-form). Raises EgressRefused: url_refused, scheme_refused."""
    if any(ord(char) < 0x21 or ord(char) > 0x7E or char in '\\"<>' for char in url):
        raise EgressRefused("url_refused", "control, space, backslash or non-ASCII in a URL")
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.lower() not in SCHEME_PORTS:
        raise EgressRefused("scheme_refused", f"scheme {scheme[:20]!r}")
    cut = min((rest.find(char) for char in "/?#" if char in rest), default=len(rest))
    authority, path = rest[:cut], rest[cut:].split("#", 1)[0]
    return parse_authority(authority, SCHEME_PORTS[scheme.lower()]), path if path.startswith("/") else "/" + path


@functools.lru_cache(maxsize=1024)
def parse_rule(entry: str) -> HostRule:
    """A host as a card writes it. Raises EgressRefused: url_refused."""
    wild = entry.startswith("*.")
    target = parse_authority(entry.removeprefix("*."), 0)
    if wild and is_literal(target.host):
        raise EgressRefused("url_refused", "a * stands for names, not for addresses")
    return HostRule(name=target.host, wild=wild, ports=(target.port,) if target.port else DEFAULT_PORTS)


def is_literal(host: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False


def check_target(target: Target, policy: Policy) -> None:
    """The part of the decision that needs no name service. Raises EgressRefused."""
    if time.time() > policy.until:
        raise EgressRefused("card_expired", target.pair)
    ports = {port for rule in map(parse_rule, policy.hosts) if rule.covers(target.host) for port in rule.ports}
    if target.port not in ports:
        raise EgressRefused("port_refused" if ports else "host_not_on_card", target.pair)
    if target.host.endswith(".onion") and not policy.upstream:
        raise EgressRefused("upstream_unavailable", "a hidden service needs a SOCKS proxy on its card")
    if policy.upstream and is_literal(target.host) and target.pair not in policy.lab:
        check_address(ipaddress.ip_address(target.host), target, policy)


def check_address(address: Address, target: Target, policy: Policy) -> None:
    """Refuse what is not public, but for exact loopback pairs of the command line. Raises EgressRefused."""
    if is_public(address):
        return
    dialled = Target(host=str(address), port=target.port).pair
    if address.is_loopback and dialled in policy.lab and target.pair in policy.lab:
        return
    raise EgressRefused("address_refused", f"{target.pair} leads to {address}")


async def resolve(target: Target, policy: Policy) -> list[str]:
    """Every address of the host, all of them checked. Raises EgressRefused."""
    if is_literal(target.host):
        check_address(ipaddress.ip_address(target.host), target, policy)
        return [target.host]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise EgressRefused("name_unknown", target.host) from exc
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        check_address(ipaddress.ip_address(text), target, policy)
    return addresses


async def dial_upstream(target: Target, upstream: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect through a SOCKS proxy, which resolves the name. Raises EgressRefused: upstream_unavailable, where the
    proxy is down or stalls; unreachable, where it is well and the host behind it is not."""
    proxy = Proxy.from_url(upstream.replace("socks5h://", "socks5://"), rdns=True)
    try:
        sock = await proxy.connect(dest_host=target.host, dest_port=target.port, timeout=DIAL_SECONDS)
        return await asyncio.open_connection(sock=sock, limit=STREAM_BYTES)
    except ProxyTimeoutError as exc:
        code = "unreachable" if await greets(upstream) else "upstream_unavailable"
        raise EgressRefused(code, type(exc).__name__) from exc
    except ProxyError as exc:  # it has answered, and said no
        raise EgressRefused("unreachable", f"{target.pair}: {exc}") from exc
    except (ProxyConnectionError, OSError, TimeoutError) as exc:
        raise EgressRefused("upstream_unavailable", type(exc).__name__) from exc


async def greets(upstream: str) -> bool:
    """Does the SOCKS5 proxy answer a greeting (RFC 1928, section 3)?"""
    parts = urlsplit(upstream)
    try:
        async with asyncio.timeout(GREETING_SECONDS):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(b"\5\2\0\2")
            try:
                return (await reader.readexactly(2))[0] == 5
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def dial(target: Target, policy: Policy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a checked address of the target, or through the upstream. Raises EgressRefused."""
    check_target(target, policy)
    if policy.upstream:
        return await dial_upstream(target, policy.upstream)
    last: Exception | None = None
    for address in await resolve(target, policy):
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                return await asyncio.open_connection(address, target.port, limit=STREAM_BYTES)
        except (OSError, TimeoutError) as exc:
            last = exc
    raise EgressRefused("unreachable", target.pair) from last
