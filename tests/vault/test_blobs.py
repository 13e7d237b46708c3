from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from vault.blobs import CHUNK, BlobReader, BlobWriter, blob_path, unlink_blob
from vault.errors import BlobError

LENGTHS = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17]


def seal(folder: Path, content: bytes, piece: int = 100_000) -> BlobWriter:
    with BlobWriter(folder) as writer:
        for start in range(0, len(content), piece):
            writer.write(content[start : start + piece])
        writer.seal()
    return writer


def content_of(length: int) -> bytes:
    return bytes(number * 7 % 251 for number in range(min(length, 5000))) * (length // 5000 + 1)


@pytest.mark.parametrize("length", LENGTHS)
def test_what_is_sealed_is_read_back(tmp_path: Path, length: int) -> None:
    content = content_of(length)[:length]
    writer = seal(tmp_path, content)
    with BlobReader(tmp_path, writer.key_id, writer.data_key, writer.size) as blob:
        assert blob.read_all() == content
    assert writer.size == length


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(offset=st.integers(0, 3 * CHUNK + 100), length=st.integers(0, 2 * CHUNK))
def test_any_range_is_read_as_from_the_plain_bytes(tmp_path: Path, offset: int, length: int) -> None:
    content = content_of(LENGTHS[-1])[: LENGTHS[-1]]
    writer = seal(tmp_path, content)
    with BlobReader(tmp_path, writer.key_id, writer.data_key, writer.size) as blob:
        assert blob.read_at(offset, length) == content[offset : offset + length]
    unlink_blob(tmp_path, writer.key_id)


def test_the_content_is_not_in_the_file(tmp_path: Path) -> None:
    writer = seal(tmp_path, b"a face that nobody may see" * 100)
    assert b"nobody may see" not in blob_path(tmp_path, writer.key_id).read_bytes()


@pytest.mark.parametrize("change", ["flip", "cut", "cut_chunk", "swap", "append", "magic"])
def test_a_changed_file_is_refused(tmp_path: Path, change: str) -> None:
    writer = seal(tmp_path, content_of(3 * CHUNK)[: 3 * CHUNK])
    path = blob_path(tmp_path, writer.key_id)
    data = bytearray(path.read_bytes())
    sealed = CHUNK + 16
    if change == "flip":
        data[5000] ^= 1
    elif change == "cut":
        del data[-1:]
    elif change == "cut_chunk":
        del data[4 + 2 * sealed :]
    elif change == "swap":
        data[4 : 4 + 2 * sealed] = data[4 + sealed : 4 + 2 * sealed] + data[4 : 4 + sealed]
    elif change == "append":
        del data[4 + 2 * sealed :]
        data += data[4 : 4 + sealed]
    else:
        data[0] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BlobError) as caught, BlobReader(tmp_path, writer.key_id, writer.data_key, writer.size) as blob:
        blob.read_all()
    assert caught.value.stable_code == "blob_changed"


def test_a_writer_that_is_not_sealed_leaves_nothing(tmp_path: Path) -> None:
    with BlobWriter(tmp_path) as writer:
        writer.write(b"x" * CHUNK * 2)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_missing_blob_says_so(tmp_path: Path) -> None:
    writer = seal(tmp_path, b"x")
    unlink_blob(tmp_path, writer.key_id)
    with pytest.raises(BlobError) as caught:
        BlobReader(tmp_path, writer.key_id, writer.data_key, 1)
    assert caught.value.stable_code == "blob_missing"
