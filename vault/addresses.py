"""Which addresses and names are public: our own table of the special ones (`ipaddress.is_global` of Python 3.11 misses
half), and which addresses are this machine's.

Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and updates), RFC 4291 (mapped, compatible),
RFC 3056 (6to4), RFC 4380 (Teredo), RFC 6052 and RFC 8215 (NAT64), RFC 5771 and 4291 (multicast). What a registry calls
globally reachable but which is no place a market can be (anycast services, 6to4 relays, AS112) is refused as well.
"""

import ipaddress
import re
import socket

import psutil

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
        "168.63.129.16/32",  # Azure's platform address: public by number, internal by use
    )
)  # fmt: skip
SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(block)
    for block in (
        "::/96",  # unspecified, loopback, IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48",
        "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
NETWORK_V4, NETWORK_V6 = 24, 56  # bits by which visitors are counted as one: what one customer of a provider may have
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# Names that lead inside, or nowhere, wherever they are resolved: RFC 6761, 6762, 8375, 9476, ICANN's reserved and
# often colliding ends, what routers and container runtimes answer, and services that turn a name into any address.
SPECIAL_ENDS = frozenset(
    (
        "localhost", "local", "localdomain", "internal", "intranet", "private", "corp", "home", "lan", "mail",
        "workgroup", "arpa", "test", "fritz.box", "easy.box", "speedport.ip",
        "tplinkwifi.net", "routerlogin.net", "localtest.me", "lvh.me", "vcap.me", "lacolhost.com", "nip.io", "sslip.io",
        "xip.io", "traefik.me",
    )
)  # fmt: skip
NUMBER_END = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")  # of a host that is an address in some spelling (WHATWG URL)
CARRIED = re.compile(r"(?<![0-9])([0-9]{1,3})[.-]([0-9]{1,3})[.-]([0-9]{1,3})[.-]([0-9]{1,3})(?![0-9])")
# what a proxy may say it connects from: its own address on the way out, which behind NAT is a private one
NAT_BLOCKS = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")


def is_public(address: Address) -> bool:
    """May we dial it? False for every special-purpose address and for IPv6 forms that carry one."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in SPECIAL_V4)
    if address.scope_id:
        return False
    if address in NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in GLOBAL_UNICAST and not any(address in block for block in SPECIAL_V6)


def name_network(host: str) -> str:
    """The network that a visitor's address belongs to, as text: a /24, a /56, or `host` itself if it is no address."""
    try:
        address: Address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((int(address), NETWORK_V6), strict=False))
    return str(ipaddress.IPv4Network((int(address) & 0xFFFFFFFF, NETWORK_V4), strict=False))


def is_number(host: str) -> bool:
    """Would a browser take this host for an IPv4 address, in whatever spelling (WHATWG URL, "ends in a number")?"""
    return NUMBER_END.match(host.rpartition(".")[2].lower()) is not None


def is_special_name(host: str) -> bool:
    """Does a name lead inside, or nowhere, as far as the name tells? What a public name resolves to somewhere else
    cannot be known. `host`: small letters, no dot at its end."""
    if host.endswith(".onion"):
        return False
    labels = host.split(".")
    ends = {".".join(labels[place:]) for place in range(len(labels))}
    return len(labels) == 1 or not ends.isdisjoint(SPECIAL_ENDS) or carries_special(host)


def carries_special(host: str) -> bool:
    """Does a name spell out an inner address, as `10-0-0-1.cloud.example` does?"""
    for found in CARRIED.finditer(host):
        if all(int(part) < 256 for part in found.groups()):
            address = ipaddress.IPv4Address(bytes(map(int, found.groups())))
            if not is_public(address):
                return True
    return False


def is_from_inside(address: Address) -> bool:
    """Has a proxy that connects from this address reached itself or its neighbour, and not the outside? Its own address
    behind NAT, and none at all, are well."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_unspecified or is_public(address):
        return False
    return not any(address in ipaddress.ip_network(block) for block in NAT_BLOCKS)


def list_interfaces() -> frozenset[Address]:
    """The addresses of this machine's network interfaces."""
    families = (socket.AF_INET, socket.AF_INET6)
    found = (each for part in psutil.net_if_addrs().values() for each in part if each.family in families)
    return frozenset(ipaddress.ip_address(each.address.partition("%")[0]) for each in found)
