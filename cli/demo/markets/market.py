"""What the three markets share: an HTTP server of one thread a request, a folder of files, a catalogue."""

import argparse
import json
import mimetypes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Market(BaseHTTPRequestHandler):
    """Answers GET by `page(parts, query)`: a text of HTML, or None for "not found"."""

    protocol_version = "HTTP/1.1"
    folder: Path
    catalog: dict[str, Any]
    media = "files"  # the first part of the address of files

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        parts = address.path.strip("/").split("/")
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        file = self.folder / "files" / parts[-1]
        if len(parts) == 2 and parts[0] == self.media and parts[1] not in ("", "..") and file.is_file():
            self.send(file.read_bytes(), mimetypes.guess_type(parts[1])[0] or "application/octet-stream")
            return
        text = self.page(parts, query)
        if text is None:
            self.send_error(404)
        else:
            self.send(text.encode(), "text/html; charset=utf-8")

    def page(self, parts: list[str], query: dict[str, str]) -> str | None:
        raise NotImplementedError

    def send(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """No log: nobody reads it."""


def run(market: type[Market], description: str) -> None:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    market.folder = args.folder
    market.catalog = json.loads((args.folder / "catalog.json").read_text(encoding="utf-8"))
    ThreadingHTTPServer(("127.0.0.1", args.port), market).serve_forever()
