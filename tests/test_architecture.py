"""The rooms and their arrows, read from the source's imports: who may import whom, and where each library lives."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("vault", "crawler", "matcher", "workers", "evidence", "dashboards", "cli")
MAY_IMPORT = {
    "vault": {"vault"},
    "matcher": {"matcher", "vault"},
    "evidence": {"evidence", "vault"},
    "crawler": {"crawler", "vault", "matcher", "evidence"},
    "workers": {"workers", "vault", "matcher", "evidence"},
    "dashboards": {"dashboards", "vault", "matcher", "evidence"},
    "cli": set(ROOMS),
}
# library -> the files or folders that may import it
HOMES = {
    "faiss": ("matcher/",),
    "onnxruntime": ("workers/faces/", "matcher/products.py"),  # the only int8 product we have
    "onnx": ("workers/faces/", "matcher/products.py"),
    "openvino": ("workers/faces/",),
    "insightface": ("workers/faces/",),
    "scrapy": ("crawler/",),
    "scrapy_playwright": ("crawler/",),
    "playwright": ("crawler/",),
    "twisted": ("crawler/",),
    "warcio": ("evidence/",),
    "jmespath": ("crawler/query.py",),
    "celery": ("workers/", "vault/steps.py"),
    "kombu": ("workers/", "vault/steps.py"),
    "redis": ("vault/steps.py",),
    "psycopg": ("vault/", "dashboards/security/queries.py", "dashboards/individual/queries.py"),
    "psycopg_pool": ("vault/store/pool.py",),
    "PIL": ("vault/pictures.py", "vault/outlines/interlace.py", "cli/demo/people.py"),
    "cv2": ("workers/faces/",),
    "fastapi": ("dashboards/",),
    "prometheus_client": ("dashboards/metrics.py",),
    "h11": ("vault/guard.py", "dashboards/server.py"),
    "uvicorn": ("dashboards/server.py",),
    "structlog": ("vault/log.py",),
    "rich": ("vault/terminal.py", "crawler/progress.py", "cli/demo/run.py"),  # the last two only for `Live`
}  # fmt: skip
READS_ENVIRONMENT = {"vault/settings.py", "vault/quiet.py", "vault/boxed.py"}  # the last only clears it
CONNECTS = {"vault/store/__init__.py", "vault/store/pool.py", "vault/embedded.py"}


def list_imports(source: str) -> set[str]:
    """Top-level names of everything a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def find_faults(path: str, source: str) -> list[str]:
    """What is wrong with the imports of a file at `path` (relative to the root)."""
    room = path.split("/")[0]
    imports = list_imports(source)
    faults = [f"{path}: {room} may not import {other}" for other in imports & set(ROOMS) - MAY_IMPORT[room]]
    for library in imports & HOMES.keys():
        if not path.startswith(HOMES[library]):
            faults.append(f"{path}: {library} lives in {', '.join(HOMES[library])}")
    return faults


def list_sources() -> list[str]:
    files = (path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return sorted(str(path) for path in files if "demo/markets" not in str(path))


@pytest.mark.parametrize("path", list_sources())
def test_a_file_imports_only_what_its_room_may(path: str) -> None:
    assert find_faults(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("vault/planted.py", "import crawler.pages"),
        ("matcher/planted.py", "from workers.app import take_turn"),
        ("crawler/planted.py", "def f():\n    from dashboards import app"),
        ("workers/planted.py", "import cli"),
        ("dashboards/planted.py", "from workers.faces import engine"),
        ("evidence/planted.py", "from matcher import gallery"),
        ("vault/store/planted.py", "import faiss"),
        ("matcher/planted.py", "import onnxruntime"),
        ("workers/planted.py", "import onnxruntime as ort"),
        ("workers/faces/planted.py", "from PIL import Image"),
        ("dashboards/planted.py", "import scrapy.http"),
    ],
)
def test_a_planted_wrong_import_is_found(path: str, source: str) -> None:
    assert len(find_faults(path, source)) == 1


def test_the_environment_is_read_in_one_place() -> None:
    users = {path for path in list_sources() if "environ" in names_used((ROOT / path).read_text(encoding="utf-8"))}
    assert users <= READS_ENVIRONMENT


def test_connections_are_made_in_one_place() -> None:
    found = {path for path in list_sources() if "psycopg.connect(" in (ROOT / path).read_text(encoding="utf-8")}
    assert found <= CONNECTS


PRINTS = {"vault/terminal.py", "vault/guard.py", "evidence/verify.py"}  # the guard to its parent; the verifier alone


def test_text_reaches_a_terminal_in_one_place() -> None:
    """Elsewhere something of a market's could be forgotten."""
    found = {path for path in list_sources() if list_prints((ROOT / path).read_text(encoding="utf-8"))}
    assert found <= PRINTS


def list_prints(source: str) -> list[int]:
    """Lines that print, write to a standard stream, or make a console of Rich's."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Name) and node.id in ("print", "Console"))
        or (isinstance(node, ast.Attribute) and node.attr in ("write", "writelines") and "sys.std" in ast.unparse(node))
    ]


def test_a_planted_print_is_found() -> None:
    assert list_prints("import sys\nprint(1)\nsys.stderr.write('x')\nfrom rich.console import Console\nConsole()") == [
        2,
        3,
        5,
    ]


def names_used(source: str) -> set[str]:
    return {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name) and node.value.id == "os"}  # fmt: skip


def test_the_dashboards_queries_only_select() -> None:
    for path in (ROOT / "dashboards").rglob("queries.py"):
        text = path.read_text(encoding="utf-8").lower()
        for word in ("insert into", "update ", "delete from", r"truncate\b"):  # `truncated` is a column
            assert not re.search(word, text), f"{path.name} writes"


def test_the_verifier_needs_nothing_but_the_standard_library() -> None:
    import sys

    imports = list_imports((ROOT / "evidence/verify.py").read_text(encoding="utf-8"))
    assert imports <= set(sys.stdlib_module_names)


def test_every_room_says_what_it_is_for() -> None:
    for room in ROOMS:
        lines = (ROOT / room / "README.md").read_text(encoding="utf-8").splitlines()
        assert 5 <= len(lines) <= 60, f"{room}/README.md has {len(lines)} lines"
