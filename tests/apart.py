"""A network of its own for what a test starts: loopback works in it, nothing else does, and whatever tries is seen."""

import ctypes
import fcntl
import ipaddress
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000  # linux/sched.h
SIOCADDRT, SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFINDEX = 0x890B, 0x8913, 0x8914, 0x8933  # linux/sockios.h
IFF_UP, RTF_UP = 0x1, 0x1
ETH_P_ALL = 0x0003
TCP, UDP = 6, 17
UNREACHABLE = {(1, 3), (58, 1)}  # (protocol, type) of ICMP (RFC 792) and ICMPv6 (RFC 4443); the packet follows
CABLE = (
    "ip link add v0 type veth peer name v1 && ip addr add 10.77.0.1/24 dev v0 && ip link set v0 up && ip link set v1 up"
)
DNS_PORTS = {53, 853, 5353, 5355}


class NotAllowed(Exception):
    """This machine gives us no network of our own (it takes root and namespaces)."""


class Apart:
    """One thread lives in a new network namespace; what it starts lives there too. Every route leads to loopback, where
    a listener sees each packet: so a name that is asked for, or an address that is dialled, is a packet in `strays`."""

    def __init__(self) -> None:
        self.strays: set[tuple[str, str, int]] = set()  # (protocol, address, port) that left loopback, or asked a name
        self._thread = ThreadPoolExecutor(1)
        try:
            self._wire = self.do(enter)
        except OSError as exc:
            self._thread.shutdown()
            raise NotAllowed(str(exc)) from exc
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()
        self._thread.shutdown()

    def do(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call something inside: sockets, threads and processes that it makes belong there."""
        return self._thread.submit(call, *args, **kwargs).result()

    def run(self, argv: list[str], env: dict[str, str], seconds: float = 240) -> subprocess.CompletedProcess[str]:
        return self.do(subprocess.run, argv, env=env, capture_output=True, text=True, timeout=seconds, check=False)

    def _watch(self) -> None:
        while True:
            try:
                packet = self._wire.recv(65_535)
            except OSError:
                return
            if (found := read_packet(packet)) is not None:
                protocol, address, port = found
                if not address.is_loopback or port in DNS_PORTS:
                    self.strays.add((protocol, str(address), port))


def enter() -> socket.socket:
    """Leave for a new network, lead every route to loopback, and return a socket that sees its packets."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    lo = b"lo".ljust(16, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inet:
        flags = struct.unpack("16sH", fcntl.ioctl(inet, SIOCGIFFLAGS, lo + bytes(2))[:18])[1]
        fcntl.ioctl(inet, SIOCSIFFLAGS, struct.pack("16sH", lo, flags | IFF_UP))
        index = struct.unpack("16si", fcntl.ioctl(inet, SIOCGIFINDEX, lo + bytes(4)))[1]
        name = ctypes.create_string_buffer(b"lo")
        anywhere = struct.pack("HH4s8x", socket.AF_INET, 0, bytes(4))
        fcntl.ioctl(  # struct rtentry of linux/route.h
            inet, SIOCADDRT,
            struct.pack("@Q16s16s16sHhQQhhQQQH6x", 0, anywhere, anywhere, anywhere, RTF_UP, 0, 0, 0, 0, 0,
                        ctypes.addressof(name), 0, 0, 0),
        )  # fmt: skip
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as inet6:  # struct in6_rtmsg of linux/ipv6_route.h
            route = struct.pack("@16s16s16sIHHIQIi", bytes(16), bytes(16), bytes(16), 0, 0, 0, 1, 0, RTF_UP, index)
            fcntl.ioctl(inet6, SIOCADDRT, route)
    except OSError:
        pass  # a kernel without IPv6
    # browsers try WebRTC only where there is more than loopback
    if shutil.which("ip"):
        subprocess.run(["sh", "-c", CABLE], check=False, capture_output=True)
    return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))


def read_packet(packet: bytes) -> tuple[str, ipaddress.IPv4Address | ipaddress.IPv6Address, int] | None:
    """(protocol, destination, its port) of a TCP or UDP packet, or of one that the kernel returned as unreachable."""
    version = packet[0] >> 4 if packet else 0
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    if version == 4 and len(packet) >= 24:
        kind, rest, address = packet[9], packet[(packet[0] & 15) * 4 :], ipaddress.IPv4Address(packet[16:20])
    elif version == 6 and len(packet) >= 44:
        kind, rest, address = packet[6], packet[40:], ipaddress.IPv6Address(packet[24:40])
    else:
        return None
    if (kind, rest[0]) in UNREACHABLE:
        return read_packet(rest[8:])
    if kind not in (TCP, UDP):
        return None
    return ("tcp" if kind == TCP else "udp"), address, int.from_bytes(rest[2:4], "big")
