"""`status` says what was not read, not seen, or passed over."""

import json
import subprocess
import sys

from cli.supervisor import ROOT
from tests.samples import add_sample, draw_picture, encode, make_listing, run_steps
from vault.settings import Settings, child_environment
from vault.store.passed_over import save_passed_over
from workers.context import Context


def show_status(settings: Settings, *arguments: str) -> str:
    env = {**child_environment(settings), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-P", "-m", "cli", "status", *arguments]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=True).stdout


def test_status_names_what_was_refused_and_what_was_not_seen(context: Context, settings: Settings) -> None:
    listing_id = make_listing(context.conn)
    for number in range(3):
        add_sample(context, listing_id, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes([number]) * 90)
    add_sample(context, listing_id, b"<html></html>")
    add_sample(context, listing_id, encode(draw_picture(1), 90)[:-2])
    run_steps(context)
    context.conn.execute("update sample set faces_left_out = 12 where truncated")
    (source_id,) = context.conn.execute("select source_id from source").fetchone() or (0,)
    save_passed_over(context.conn, source_id, {"a": {"text": 2, "MP4": 5}, "b": {"text": 1}})
    shown = show_status(settings)
    assert "passed over: 5 MP4, 3 text" in shown
    assert "refused: format_not_allowed 4 (HEIC 3, HTML 1)" in shown
    assert "truncated pictures, seen as far as they go: 1" in shown
    assert "faces left out: 12 (pictures that hold more than are looked at: 1)" in shown
    table = json.loads(show_status(settings, "--json"))
    assert table["passed_over"] == {"test-source": {"MP4": 5, "text": 3}}
    assert table["formats_not_read"] == {"HEIC": 3, "HTML": 1}
    assert table["partly_seen"] == {"truncated": 1, "faces_left_out": 12, "pictures_with_faces_left_out": 1}
