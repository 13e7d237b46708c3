"""What may leave the house: in come a policy and a destination, out comes a connection or a typed refusal.

A name is resolved once (`vault/names.py`), every address it has is checked against our own table
(`vault/addresses.py`), and an address that was checked is dialled. Through a SOCKS proxy (`vault/socks.py`) the name is
checked instead. `vault/guard.py` is the proxy process that asks here for every single request.
"""

import asyncio
import contextlib
import dataclasses
import functools
import ipaddress
import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from vault.addresses import Address, is_from_inside, is_number, is_public, is_special_name, list_interfaces
from vault.errors import EgressRefused
from vault.log import get_logger
from vault.names import Names
from vault.socks import SocksFailed, SocksRefused, ask_for, parse_socks, shake_hands

DIAL_SECONDS = 15.0  # for all addresses of a name together
STAGGER_SECONDS = 0.25  # after which the next one is tried beside those before it (RFC 8305, section 5)
MOST_DIALLED = 16  # addresses of one name
GREETING_SECONDS = 10.0  # of a proxy, its connection among them
OWN_SECONDS = 60.0  # for which what our own names resolve to is believed
OWN_PATIENCE = 2.0  # for their lookup
STREAM_BYTES = 64 * 1024
OUR_NAME = "facewarden"  # to an upstream that asks who we are
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
    "method_refused": "a crawl only reads: GET without a body",
    "name_unknown": "the name does not resolve",
    "upstream_unavailable": "the proxy that the card asks for does not answer",
    "budget_spent": "the card's byte or time budget is spent",
    "unreachable": "the address does not answer",
    "answer_invalid": "the answer does not begin as HTTP that every parser reads alike",
}


log = get_logger(__name__)


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
    own: tuple[str, ...] = ()  # names and addresses under which we are reached ourselves, beside our interfaces
    own_ports: tuple[int, ...] = ()  # of ours on loopback, which no lab pair opens
    identity: str = ""  # how the upstream tells us from other crawls

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Policy":
        table: dict[str, Any] = json.loads(text)
        table |= {name: tuple(value) for name, value in table.items() if isinstance(value, list)}
        return cls(**table)


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
    if not host or ".." in host or (is_number(host) and not is_literal(host)):
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
    if target.host in policy.own:
        raise EgressRefused("address_refused", f"{target.pair} is this deployment itself")
    if policy.upstream and not is_literal(target.host) and is_special_name(target.host):
        raise EgressRefused("address_refused", f"{target.pair}: such a name leads inside, wherever it is resolved")


def check_address(address: Address, target: Target, policy: Policy, own: frozenset[Address] = frozenset()) -> None:
    """Refuse what is not public or is ours, but for exact loopback pairs of the command line. Raises EgressRefused."""
    dialled = Target(host=str(address), port=target.port).pair
    lab = address.is_loopback and dialled in policy.lab and target.pair in policy.lab
    if lab and target.port in policy.own_ports:
        raise EgressRefused("address_refused", f"{target.pair} is this deployment itself")
    if not lab and (not is_public(address) or address in own):
        raise EgressRefused("address_refused", f"{target.pair} leads to {address}")


Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[str, int], Awaitable[Wire]]


async def connect(address: str, port: int) -> Wire:
    return await asyncio.open_connection(address, port, limit=STREAM_BYTES)


class Dialler:
    """The connections of one guard. `connect` takes an address that was checked, never a name."""

    def __init__(
        self,
        policy: Policy,
        names: Names | None = None,
        connect: Connect = connect,
        interfaces: Callable[[], frozenset[Address]] = list_interfaces,
    ) -> None:
        self.policy, self._names = policy, names or Names()
        self._connect, self._interfaces = connect, interfaces
        self._named: dict[str, frozenset[Address]] = {}  # what our own names resolved to last
        self._own: frozenset[Address] = frozenset()
        self._own_until = -math.inf

    async def dial(self, target: Target) -> Wire:
        """Connect to a checked address of the target, or through the upstream. Raises EgressRefused."""
        check_target(target, self.policy)
        if not self.policy.upstream:
            return await self._dial_any(await self.resolve(target), target)
        if is_literal(target.host):
            check_address(ipaddress.ip_address(target.host), target, self.policy, await self._list_own())
        return await self._dial_upstream(target)

    async def resolve(self, target: Target) -> list[str]:
        """Every address of the host, all of them checked. Raises EgressRefused."""
        found = [target.host] if is_literal(target.host) else await self._names.resolve(target.host)
        own = await self._list_own()
        for text in found:
            check_address(ipaddress.ip_address(text), target, self.policy, own)
        return found

    async def _list_own(self) -> frozenset[Address]:
        """The addresses of this machine, and those that our own names resolve to; the last known ones while nobody
        tells."""
        if time.monotonic() < self._own_until:
            return self._own
        for host in self.policy.own:
            with contextlib.suppress(EgressRefused, TimeoutError):
                async with asyncio.timeout(OWN_PATIENCE):
                    found = [host] if is_literal(host) else await self._names.resolve(host)
                self._named[host] = frozenset(map(ipaddress.ip_address, found))
        self._own = self._interfaces().union(*self._named.values())
        self._own_until = time.monotonic() + OWN_SECONDS
        return self._own

    async def _dial_any(self, addresses: Sequence[str], target: Target) -> Wire:
        """Connect to whichever of the addresses answers first, both families in turn, one beside the other. Raises
        EgressRefused: unreachable."""
        tried = mix_families(addresses)[:MOST_DIALLED]
        attempts: set[asyncio.Task[Wire]] = set()
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                while tried or attempts:
                    if tried:
                        attempts.add(asyncio.ensure_future(self._connect(tried.pop(0), target.port)))
                    patience = STAGGER_SECONDS if tried else None
                    done, attempts = await asyncio.wait(attempts, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                    won = [each for each in done if each.exception() is None]
                    attempts.update(won[1:])
                    if won:
                        return won[0].result()
        except TimeoutError as exc:
            raise EgressRefused("unreachable", target.pair) from exc
        finally:
            for attempt in attempts:
                attempt.add_done_callback(drop_wire)
                attempt.cancel()
        raise EgressRefused("unreachable", target.pair)

    async def _dial_upstream(self, target: Target) -> Wire:
        """Connect through the SOCKS proxy, which resolves the name. Raises EgressRefused: upstream_unavailable, where
        the proxy is down or stalls; unreachable, where it is well and the host behind it is not; address_refused."""
        socks = parse_socks(self.policy.upstream)
        own = (OUR_NAME, self.policy.identity) if self.policy.identity else ("", "")
        login = (socks.user, socks.password) if socks.user else own
        try:
            reader, writer = await self._reach_upstream(socks.host, socks.port, *login)
        except SocksFailed as exc:
            if login != own or login == ("", ""):
                raise EgressRefused("upstream_unavailable", str(exc)) from exc
            reader, writer = await self._reach_alone(socks.host, socks.port)
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                bound = await ask_for(reader, writer, target.host, target.port)
        except (SocksRefused, OSError, TimeoutError) as exc:
            writer.close()
            raise EgressRefused("unreachable", f"{target.pair}: {exc or type(exc).__name__}") from exc
        except SocksFailed as exc:
            writer.close()
            raise EgressRefused("upstream_unavailable", str(exc)) from exc
        if bound is not None and is_from_inside(bound):
            writer.close()
            raise EgressRefused("address_refused", f"{target.pair}: the proxy went to it from {bound}")
        return reader, writer

    async def _reach_alone(self, host: str, port: int) -> Wire:
        """The proxy, which knows our credentials as nobody's. Raises EgressRefused: upstream_unavailable."""
        log.info("the proxy of the card wants no credentials that part crawls from each other")
        try:
            return await self._reach_upstream(host, port, "", "")
        except SocksFailed as exc:
            raise EgressRefused("upstream_unavailable", str(exc)) from exc

    async def _reach_upstream(self, host: str, port: int, user: str, password: str) -> Wire:
        """A connection to the proxy that has agreed on who asks. Raises SocksFailed, where it is there and does not;
        EgressRefused: upstream_unavailable."""
        writer: asyncio.StreamWriter | None = None
        try:
            address = host if is_literal(host) else (await self._names.resolve(host))[0]
            async with asyncio.timeout(GREETING_SECONDS):
                reader, writer = await self._connect(address, port)
                await shake_hands(reader, writer, user, password)
            return reader, writer
        except SocksFailed:
            if writer:
                writer.close()
            raise
        except (OSError, TimeoutError, EgressRefused) as exc:
            if writer:
                writer.close()
            raise EgressRefused("upstream_unavailable", type(exc).__name__) from exc


def mix_families(addresses: Sequence[str]) -> list[str]:
    """Addresses of both families in turn (RFC 8305, section 4), the family of the first one first."""
    parts: dict[bool, list[str]] = {}
    for address in addresses:
        parts.setdefault(":" in address, []).append(address)
    return [each for pair in zip_longest(*parts.values()) for each in pair if each]


def drop_wire(attempt: "asyncio.Task[Wire]") -> None:
    """Close what was connected beside the one that is used."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result()[1].close()
