import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.calibration import (
    FEWEST_ERRORS,
    FOLDER,
    Calibration,
    derive_cut,
    find_score,
    is_calibration_name,
    load_calibration,
    parse_calibration,
)
from vault.errors import CalibrationError
from workers.faces.packs import opencv_zoo


def record(counts: list[int]) -> str:
    return json.dumps(
        {
            "format": 1, "pack": "p", "recogniser_sha256": "x", "data": {"name": "n", "caveat": "c"},
            "impostor": {"low": 0.0, "width": 0.1, "bins": len(counts), "pairs": sum(counts),
                         "counts": [[i, c] for i, c in enumerate(counts) if c]},
        }
    )  # fmt: skip


def calibration(counts: list[int]) -> Calibration:
    return parse_calibration(record(counts))


def test_the_shipped_record_was_measured_with_the_shipped_models() -> None:
    shipped = load_calibration("opencv-zoo")
    assert shipped.recogniser_sha256 == opencv_zoo().recogniser.sha256
    assert shipped.record["detector_sha256"] == opencv_zoo().detector.sha256
    assert shipped.pairs > 10**7
    assert "LFW" in shipped.data
    assert "male" in shipped.caveat


def test_the_record_holds_no_picture_no_vector_and_no_name() -> None:
    text = (FOLDER / "opencv-zoo.json").read_text()
    assert len(text) < 50_000
    assert set(json.loads(text)) == {"format", "pack", "detector_sha256", "recogniser_sha256", "method", "measured",
                                     "data", "impostor"}  # fmt: skip


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30).filter(any), st.floats(1e-6, 1))
def test_the_cut_is_the_lowest_edge_that_keeps_the_rate(counts: list[int], rate: float) -> None:
    score, found = find_score(calibration(counts), rate)
    edge = round(score / 0.1)
    assert sum(counts[edge:]) / sum(counts) == pytest.approx(found)
    assert found <= rate
    if edge > 0:
        assert sum(counts[edge - 1 :]) / sum(counts) > rate


def test_a_larger_gallery_or_more_faces_raise_the_cut() -> None:
    shipped = load_calibration("opencv-zoo")
    small = derive_cut(shipped, false_alerts=1, faces=1000, templates=5)
    large = derive_cut(shipped, false_alerts=1, faces=1000, templates=500)
    busy = derive_cut(shipped, false_alerts=1, faces=100_000, templates=5)
    lenient = derive_cut(shipped, false_alerts=10, faces=1000, templates=5)
    assert lenient.score < small.score < large.score
    assert busy.score == pytest.approx(large.score)
    assert all(cut.strong_score >= cut.score and cut.supported for cut in (small, large, busy, lenient))


def test_a_rate_that_the_data_cannot_support_is_said() -> None:
    shipped = load_calibration("opencv-zoo")
    cut = derive_cut(shipped, false_alerts=1, faces=10**6, templates=10**5)
    assert not cut.supported
    assert cut.wanted_rate == pytest.approx(1e-11)
    assert cut.rate == pytest.approx(FEWEST_ERRORS / shipped.pairs)


DAMAGED = [
    "",
    "{}",
    record([1, 2]).replace('"pairs": 3', '"pairs": 4'),
    record([1, 2]).replace('"format": 1', '"format": 9'),
    record([1]).replace("0.1", '"x"'),
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_record_is_refused(text: str) -> None:
    with pytest.raises(CalibrationError):
        parse_calibration(text)


def test_a_pack_without_a_record_cannot_decide() -> None:
    with pytest.raises(CalibrationError) as caught:
        load_calibration("insightface:none")
    assert "bench/calibrate.py" in caught.value.mend


def test_half_of_all_names_are_kept_for_measuring() -> None:
    names = [f"Person_{number}" for number in range(2000)]
    assert 900 < sum(map(is_calibration_name, names)) < 1100
