"""`models add` of whatever is called a zip: a typed error with what to do, bounded, and nothing half-written."""

import io
import os
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from cli.supervisor import ROOT
from tests.vault.packing import pack
from vault.errors import ModelError
from vault.settings import Settings, child_environment
from workers.faces.packages import MOST_ENTRIES
from workers.faces.packs import add_pack, has_external_data, list_packs


def make_zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as package:
        for name, data in members.items():
            package.writestr(name, data)
    return out.getvalue()


def double_name() -> bytes:
    return make_zip({"a.onnx": b"one", "b.onnx": b"two"}).replace(b"b.onnx", b"a.onnx")


def set_flag(data: bytes, flag: int) -> bytes:
    """In the local headers and the directory."""
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.index(magic) + at
        data = data[:start] + struct.pack("<H", flag) + data[start + 2 :]
    return data


def set_method(data: bytes, method: int) -> bytes:
    for magic, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = data.index(magic) + at
        data = data[:start] + struct.pack("<H", method) + data[start + 2 :]
    return data


def declare_size(data: bytes, size: int) -> bytes:
    start = data.index(b"PK\x01\x02") + 24
    return data[:start] + struct.pack("<I", size) + data[start + 4 :]


ONE = make_zip({"a.onnx": bytes(range(256)) * 40})
ODD: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a text": lambda: b"not a zip at all",
    "a web page": lambda: b"<!DOCTYPE html><html>sign in</html>",
    "a 7z": lambda: pack("7z", [("a.onnx", b"a")]),
    "no model in it": lambda: make_zip({"a.txt": b"x"}),
    "empty": lambda: make_zip({}),
    "a model that is none": lambda: make_zip({"a.onnx": b"not a model"}),
    "models that are none": lambda: make_zip({f"{number}.onnx": b"x" for number in range(5)}),
    "cut by a third": lambda: ONE[: len(ONE) * 2 // 3],
    "cut by its last byte": lambda: ONE[:-1],
    "its data changed": lambda: ONE[:60] + b"\xff" * 40 + ONE[100:],
    "encrypted": lambda: set_flag(ONE, 1),
    "strongly encrypted": lambda: set_flag(ONE, 0x41),
    "an unknown method": lambda: set_method(ONE, 97),
    "AES": lambda: set_method(set_flag(ONE, 1), 99),
    "a bomb": lambda: make_zip({"a.onnx": bytes(300 << 20)}),
    "a bomb of bzip2": lambda: make_zip({"a.onnx": bytes(300 << 20)}, zipfile.ZIP_BZIP2),
    "a bomb of LZMA": lambda: make_zip({"a.onnx": bytes(100 << 20)}, zipfile.ZIP_LZMA),
    "a model of 4 GB": lambda: declare_size(ONE, 0xFFFFFFF0),
    "a size that lies": lambda: declare_size(ONE, 11_000),
    "two of one name": double_name,
    "a name that points up": lambda: make_zip({"../../evil.onnx": b"x"}),
    "an absolute name": lambda: make_zip({"/etc/evil.onnx": b"x"}),
    "a name with a drive": lambda: make_zip({"c:\\evil.onnx": b"x"}),
    "a folder called model": lambda: make_zip({"a.onnx/": b"", "a.onnx/b.txt": b"x"}),
    "many entries": lambda: make_zip({f"{number}.txt": b"" for number in range(MOST_ENTRIES + 1)}),
    "a hundred thousand entries": lambda: make_zip(
        {f"{number:030d}": b"" for number in range(100_000)}, zipfile.ZIP_STORED
    ),
    "many models": lambda: make_zip({f"{number}.onnx": b"x" for number in range(21)}),
}


def add(home: Path, data: bytes) -> None:
    archive = home / "pack.zip"
    archive.write_bytes(data)
    add_pack(Settings(home=home, key_file=home / "k"), "insightface:odd", "research-only", archive)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_zip_is_refused_with_what_to_do_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    data = ODD[name]()
    started = time.process_time()
    with pytest.raises(ModelError) as caught:
        add(tmp_path, data)
    assert caught.value.stable_code in ("model_archive", "model_unknown")
    assert caught.value.mend
    assert time.process_time() - started < 10
    assert not list((tmp_path / "models").iterdir())


def test_a_pack_that_is_refused_leaves_the_one_that_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "models/insightface_odd"
    folder.mkdir(parents=True)
    (folder / "pack.json").write_text("{}")
    with pytest.raises(ModelError):
        add(tmp_path, b"no zip")
    assert (folder / "pack.json").read_text() == "{}"


@pytest.mark.parametrize("kind", ["folder", "missing", "pipe"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pack.zip"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ModelError) as caught:
        add_pack(Settings(home=tmp_path, key_file=tmp_path / "k"), "insightface:odd", "research-only", path)
    assert caught.value.mend


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(ModelError) as caught:
        add(tmp_path, ONE)
    assert caught.value.stable_code == "model_unwritten"


def test_the_command_prints_one_line_and_no_traceback(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "pack.zip").write_bytes(set_flag(ONE, 1))
    argv = ["models", "add", "insightface:odd", "--licence", "research-only", "--from", str(tmp_path / "pack.zip")]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", *argv],
        env={**child_environment(settings), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "model_archive: pack.zip asks for a password" in done.stderr


def test_a_folder_left_by_a_killed_command_is_no_pack(tmp_path: Path) -> None:
    folder = tmp_path / "models/insightface_odd.new"
    folder.mkdir(parents=True)
    (folder / "pack.json").write_text("{}")
    assert [each.name for each in list_packs(Settings(home=tmp_path, key_file=tmp_path / "k"))] == ["opencv-zoo"]


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
def test_a_model_that_reads_other_files_is_not_opened(tmp_path: Path, place: str) -> None:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    value = helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])
    inner = helper.make_graph([constant], "inner", [], [value])
    nodes = {
        "initializer": [helper.make_node("Identity", ["w"], ["y"])],
        "constant": [constant],
        "branch": [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)],
    }[place]
    graph = helper.make_graph(nodes, "g", [], [value], [tensor] if place == "initializer" else [])
    path = tmp_path / "a.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert has_external_data(path)
    plain = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])], "g", [], [value], [onnx.numpy_helper.from_array(np.ones(1), "w")]
    )
    path.write_bytes(helper.make_model(plain).SerializeToString())
    assert not has_external_data(path)


@given(st.integers(0, len(ONE) - 1), st.binary(min_size=1, max_size=12))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_bytes_changed_anywhere_never_end_in_another_error(tmp_path: Path, at: int, new: bytes) -> None:
    with pytest.raises(ModelError):
        add(tmp_path, ONE[:at] + new + ONE[at + len(new) :])
    assert not list((tmp_path / "models").iterdir())
