"""A way out through a SOCKS5 proxy (RFC 1928, 1929): in come proxy, target and a name for us, out comes a connection.

The proxy resolves names. Whoever asks with other credentials gets another circuit of Tor (IsolateSOCKSAuth).
"""

import asyncio
import contextlib
import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from vault.addresses import Address

VERSION, CONNECT = 5, 1
NO_LOGIN, PASSWORD, NONE_FITS = 0, 2, 0xFF
IPV4, NAME, IPV6 = 1, 3, 4
LENGTHS = {IPV4: 4, IPV6: 16}
FORM = re.compile(
    r"socks5h://(?:(?P<user>[^\s:@/]{1,255}):(?P<password>[^\s:@/]{1,255})@)?"
    r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})/?"
)


class SocksFailed(Exception):
    """The proxy is down, or speaks no SOCKS5 with us."""


class SocksRefused(Exception):
    """The proxy is well, and what is behind it cannot be had."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Socks:
    """A proxy as a card names it. `user`, `password`: of an account there; empty where the card has none."""

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)


def parse_socks(url: str) -> Socks:
    """`socks5h://[user:password@]host:port`. Raises ValueError."""
    found = FORM.fullmatch(url)
    if found is None or not 1 <= int(found["port"]) <= 65_535:
        raise ValueError("only socks5h://host:port (names resolved by the proxy) is allowed")
    login = (unquote(found[name] or "") for name in ("user", "password"))
    host = found["host"].removeprefix("[").removesuffix("]").lower()
    return Socks(host=host, port=int(found["port"]), **dict(zip(("user", "password"), login, strict=True)))


async def shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str, password: str) -> None:
    """Agree on who asks: with user and password where there are some and the proxy wants them. Raises SocksFailed."""
    methods = [NO_LOGIN, *([PASSWORD] if user else [])]
    writer.write(bytes([VERSION, len(methods), *methods]))
    version, method = await read_exactly(reader, 2)
    if version != VERSION or method not in methods:
        raise SocksFailed("it wants another login" if version == VERSION else "it speaks no SOCKS5")
    if method == NO_LOGIN:
        return
    name, word = user.encode(), password.encode()
    writer.write(bytes([1, len(name)]) + name + bytes([len(word)]) + word)
    if (await read_exactly(reader, 2))[1] != 0:
        raise SocksFailed("it refuses the login")


async def ask_for(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> Address | None:
    """Have the proxy connect. Returns the address that it says it connects from, None where it names none. Raises
    SocksRefused, SocksFailed."""
    writer.write(bytes([VERSION, CONNECT, 0]) + write_host(host) + port.to_bytes(2, "big"))
    try:
        version, answer, _, kind = await read_exactly(reader, 4)
    except SocksFailed as exc:  # as some do for what they cannot reach
        raise SocksRefused(str(exc)) from exc
    if version != VERSION:
        raise SocksFailed("it speaks no SOCKS5")
    if answer != 0:
        raise SocksRefused(f"reply {answer}")
    length = (await read_exactly(reader, 1))[0] if kind == NAME else LENGTHS.get(kind)
    if length is None:
        raise SocksFailed("it speaks no SOCKS5")
    bound = await read_exactly(reader, length + 2)
    return None if kind == NAME else ipaddress.ip_address(bound[:-2])


def write_host(host: str) -> bytes:
    """A host as a request names it: an address as one, a name as it is."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        return bytes([IPV4 if address.version == 4 else IPV6]) + address.packed
    return bytes([NAME, len(host)]) + host.encode("ascii")


async def read_exactly(reader: asyncio.StreamReader, count: int) -> bytes:
    try:
        return await reader.readexactly(count)
    except asyncio.IncompleteReadError as exc:
        raise SocksFailed("it hangs up") from exc
