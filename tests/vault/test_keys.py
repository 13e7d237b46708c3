import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.errors import KeyFileError, VectorError
from vault.keys import Keys, check_vectors, decrypt, encrypt, load_keys, make_data_key, make_key_file, make_matrix


@pytest.fixture
def some_keys(tmp_path: Path) -> Keys:
    make_key_file(tmp_path / "key")
    return load_keys(tmp_path / "key")


def unit_rows(count: int, dimension: int = 128, seed: int = 1) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def test_the_key_file_is_for_its_owner_only(tmp_path: Path) -> None:
    make_key_file(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(KeyFileError) as caught:
        load_keys(tmp_path / "key")
    assert caught.value.stable_code == "key_file_open"
    assert "chmod 600" in caught.value.mend


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    make_key_file(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    make_key_file(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2, "secrets": []}', '{"format": 1, "secrets": [{}]}',
                                  '{"format": 1, "secrets": []}'])  # fmt: skip
def test_a_damaged_key_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(KeyFileError) as caught:
        load_keys(tmp_path / "key")
    assert caught.value.stable_code == "key_file_damaged"


def test_keyed_templates_keep_their_cosines_and_match_no_plain_vector(some_keys: Keys) -> None:
    plain = unit_rows(500)
    keyed = some_keys.protect_templates(plain)
    assert np.abs(plain @ plain.T - keyed @ keyed.T).max() < 2e-6
    assert np.abs((plain * keyed).sum(axis=1)).mean() < 0.2


def test_two_deployments_do_not_share_a_matrix(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_key_file(tmp_path / name)
    first, second = load_keys(tmp_path / "a"), load_keys(tmp_path / "b")
    assert first.matrix_id(128) != second.matrix_id(128)
    rows = unit_rows(10)
    assert np.abs((first.protect_templates(rows) * second.protect_templates(rows)).sum(axis=1)).max() < 0.6


def test_the_matrix_is_orthonormal_and_the_same_each_time() -> None:
    matrix = make_matrix(bytes(range(32)), 128)
    assert np.abs(matrix @ matrix.T - np.eye(128)).max() < 1e-6
    make_matrix.cache_clear()
    assert np.array_equal(matrix, make_matrix(bytes(range(32)), 128))
    # pinned: another machine or library must not come to another matrix, or stored templates would be lost
    assert np.allclose(matrix[0, :4], [-0.0155379, -0.1378985, -0.0360802, -0.0019613], atol=1e-6)


@pytest.mark.parametrize(
    ("row", "code"),
    [(np.full(8, np.nan), "vector_not_finite"), (np.full(8, np.inf), "vector_not_finite"),
     (np.zeros(8), "vector_not_unit"), (np.ones(8), "vector_not_unit")],
)  # fmt: skip
def test_vectors_that_may_not_be_kept_are_refused(row: np.ndarray[tuple[int], np.dtype[np.float64]], code: str) -> None:
    with pytest.raises(VectorError) as caught:
        check_vectors(row.astype(np.float32)[None])
    assert caught.value.stable_code == code


@given(plain=st.binary(max_size=300), bound=st.binary(max_size=40), at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_changed_bit_never_opens(plain: bytes, bound: bytes, at: int, bit: int) -> None:
    key = make_data_key()
    sealed = encrypt(key, plain, bound)
    assert decrypt(key, sealed, bound) == plain
    changed = bytearray(sealed)
    changed[at % len(sealed)] ^= 1 << bit
    with pytest.raises(KeyFileError):
        decrypt(key, bytes(changed), bound)
    with pytest.raises(KeyFileError):
        decrypt(key, sealed, bound + b"x")


def test_a_wrapped_key_opens_only_under_its_own_name(some_keys: Keys) -> None:
    data_key = make_data_key()
    wrapped = some_keys.wrap_key(data_key, "a")
    assert some_keys.unwrap_key(wrapped, "a") == data_key
    with pytest.raises(KeyFileError):
        some_keys.unwrap_key(wrapped, "b")
    with pytest.raises(KeyFileError):
        some_keys.unwrap_key(b"other\0" + wrapped.partition(b"\0")[2], "a")


def test_a_signature_is_only_good_for_its_message(some_keys: Keys) -> None:
    signature = some_keys.sign(b"message")
    assert some_keys.verify(b"message", signature)
    assert not some_keys.verify(b"massage", signature)
