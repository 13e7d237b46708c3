"""Small real things that stand where the outside world would: a web server, a name service, a SOCKS proxy, and a
connection that tells."""

import asyncio
import http.server
import ipaddress
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import psycopg

Answer = tuple[int, dict[str, str], bytes]  # status, headers, body


class Site(http.server.ThreadingHTTPServer):
    """Serves what `answer(path)` says, and counts requests."""

    daemon_threads = True

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        self.hits: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}  # of the last request for each path
        self.answer = answer
        self.other_methods: list[str] = []  # requests that were no GET
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        self.server.hits[self.path] += 1
        self.server.headers[self.path] = dict(self.headers.items())
        status, headers, body = self.server.answer(self.path)
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if status != 304:
            self.wfile.write(body)

    def do_POST(self) -> None:
        self.server.other_methods.append(f"{self.command} {self.path}")
        self.close_connection = True

    do_PUT = do_DELETE = do_PATCH = do_HEAD = do_POST  # noqa: N815  names of http.server

    def log_message(self, *args: object) -> None:
        pass


NOT_FOUND: Answer = (404, {}, b"no")


class NameService:
    """Answers what it was told, in its order, and counts what it was asked. A name that hangs is not answered before
    the end."""

    def __init__(self, answers: dict[str, list[str]]) -> None:
        self.asked: Counter[str] = Counter()
        self.end = threading.Event()
        self._answers = answers

    def __call__(self, host: str) -> list[str]:
        self.asked[host] += 1
        if host.endswith("hangs.example"):
            self.end.wait(60)
        if host not in self._answers:
            raise OSError("no such name")
        return self._answers[host]


class Network:
    """Connects to `answering` addresses, refuses at `refusing` ones, and hangs at all others."""

    def __init__(self, answering: Iterable[str] = (), refusing: Iterable[str] = ()) -> None:
        self.answering, self.refusing = set(answering), set(refusing)
        self.dialled: list[str] = []

    async def connect(self, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.dialled.append(address)
        if address in self.refusing:
            raise OSError("refused")
        if address not in self.answering:
            await asyncio.sleep(60)
        wire, self.far_end = socket.socketpair()
        return await asyncio.open_connection(sock=wire)


class Socks(threading.Thread):
    """A SOCKS5 server (RFC 1928) that notes the names it was asked for and by whom (RFC 1929), and connects all of them
    to one port; but for `dead` names, which it says it cannot reach. `silent_at` a greeting or a request it never
    answers; `bound`: the address that it says it connects from; `logins`: those it takes, where it takes only some."""

    def __init__(self, to: int, port: int = 0) -> None:
        super().__init__(daemon=True)
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.asked: list[tuple[int, bytes]] = []
        self.users: list[bytes] = []  # user and password of each request, b"" where it came without
        self.logins: set[bytes] | None = None
        self.bound = "0.0.0.0"
        self.dead: set[bytes] = set()
        self.silent_at = ""

    def run(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        methods = client.recv(2 + 255)[2:]
        if self.silent_at == "greeting":
            client.recv(1)
            return
        user = b""
        if b"\2" in methods:
            client.sendall(b"\5\2")
            client.recv(1)
            user = client.recv(client.recv(1)[0]) + b":" + client.recv(client.recv(1)[0])
            known = self.logins is None or user in self.logins
            client.sendall(b"\1\0" if known else b"\1\1")
            if not known:
                client.close()
                return
        else:
            client.sendall(b"\5\0")
        head = client.recv(4)
        if len(head) < 4:
            return
        name = client.recv(client.recv(1)[0]) if head[3] == 3 else client.recv(4)
        client.recv(2)
        self.asked.append((head[3], name))
        self.users.append(user)
        if self.silent_at == "request":
            client.recv(1)
            return
        if name in self.dead:
            client.sendall(b"\5\4\0\1\0\0\0\0\0\0")  # 4: host unreachable
            return
        server = socket.create_connection(("127.0.0.1", self._to))
        bound = ipaddress.ip_address(self.bound)
        client.sendall(b"\5\0\0" + (b"\1" if bound.version == 4 else b"\4") + bound.packed + b"\0\0")
        threading.Thread(target=self._pump, args=(server, client), daemon=True).start()
        self._pump(client, server)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()


class Crowd:
    """A detector that finds so many faces in every picture, all too small to be matched but the first."""

    size = "none"

    def __init__(self, faces: int) -> None:
        self.sides = [30.0, *(10 + 10 * number / faces for number in range(faces - 1))]

    def detect(
        self, pixels: npt.NDArray[np.uint8], *, whole: bool = False
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        sides = np.array(self.sides, np.float32)
        places = np.arange(len(sides), dtype=np.float32)
        boxes = np.stack([places % 1000, places // 1000 * 40, sides, sides], axis=1)
        landmarks = boxes[:, None, :2] + np.array([[8, 10], [20, 10], [14, 16], [9, 22], [19, 22]], np.float32)
        return boxes, np.full(len(sides), 0.9, np.float32), landmarks.astype(np.float32)


class RecordingConnection(psycopg.Connection[Any]):
    """A connection that notes the text of every statement it is given, in `said` of its class."""

    said: ClassVar[list[str]] = []

    def execute(self, query: Any, params: Any = None, **options: Any) -> psycopg.Cursor[Any]:
        self.said.append(query if isinstance(query, str) else str(query))
        return super().execute(query, params, **options)
