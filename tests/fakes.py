"""Small real things that stand where the outside world would: a web server that says what a test wants."""

import http.server
import threading
from collections import Counter
from collections.abc import Callable

Answer = tuple[int, dict[str, str], bytes]  # status, headers, body


class Site(http.server.ThreadingHTTPServer):
    """Serves what `answer(path)` says, and counts requests."""

    daemon_threads = True

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        self.hits: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}  # of the last request for each path
        self.answer = answer
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

    def log_message(self, *args: object) -> None:
        pass


NOT_FOUND: Answer = (404, {}, b"no")
