import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.calibration import (
    FEWEST_ERRORS,
    FOLDER,
    MODELLED_DECADES,
    Calibration,
    derive_cut,
    find_score,
    find_shortfall,
    is_calibration_name,
    load_calibration,
    parse_calibration,
    state_alerts,
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
    assert set(json.loads(text)) == {
        "format", "pack", "detector_sha256", "recogniser_sha256", "space", "method", "measured", "data", "impostor",
        "genuine", "qualities", "rates",
    }  # fmt: skip


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


def test_the_shipped_record_rests_on_no_wrong_caption() -> None:
    """Somebody under two names, or under another's, looks like an impostor: the cut at 1,000 enrolled was 0.655."""
    shipped = load_calibration("opencv-zoo")
    assert shipped.record["data"]["people_dropped"]["count"] == 1
    assert shipped.record["data"]["people_joined"]["count"] == 3
    assert derive_cut(shipped, false_alerts=1, faces=10_000, templates=1000).score <= 0.58


def test_a_rate_that_the_data_cannot_support_is_said() -> None:
    shipped = load_calibration("opencv-zoo")
    cut = derive_cut(shipped, false_alerts=1, faces=10**6, templates=10**5)
    assert not cut.supported
    assert cut.wanted_rate == pytest.approx(1e-11)
    assert cut.rate == pytest.approx(FEWEST_ERRORS / shipped.pairs / MODELLED_DECADES)
    lacking = find_shortfall(shipped, cut)
    assert lacking.missing_pairs == pytest.approx(FEWEST_ERRORS / MODELLED_DECADES / 1e-11, rel=0.01)
    assert lacking.missing_people > 10**5
    assert lacking.supported_missed is not None
    assert lacking.wanted_missed is not None
    assert lacking.supported_missed < lacking.wanted_missed


def test_between_the_supported_cut_and_the_wanted_one_nothing_is_sent() -> None:
    shipped = load_calibration("opencv-zoo")
    supported = derive_cut(shipped, false_alerts=1, faces=1e4, templates=50)
    assert supported.sent_score == supported.score
    beyond = derive_cut(shipped, false_alerts=1, faces=1e6, templates=1000)
    assert not beyond.supported
    assert beyond.sent_score > beyond.score
    assert beyond.score >= supported.score


def test_a_rate_a_decade_below_the_counted_ones_is_modelled_with_a_wide_interval() -> None:
    shipped = load_calibration("opencv-zoo")
    counted = derive_cut(shipped, false_alerts=shipped.lowest_rate * 3, faces=1, templates=1)
    modelled = derive_cut(shipped, false_alerts=shipped.lowest_rate / 5, faces=1, templates=1)
    assert modelled.supported
    assert modelled.score > counted.score
    assert all(cut.interval[0] < cut.rate < cut.interval[1] for cut in (counted, modelled))
    assert modelled.interval[1] / modelled.interval[0] > counted.interval[1] / counted.interval[0]


def test_the_rates_fall_as_the_score_rises_and_lie_in_their_intervals() -> None:
    rates = load_calibration("opencv-zoo").rates
    assert all(a.score < b.score and a.rate >= b.rate for a, b in pairwise(rates))
    assert all(each.low <= each.rate <= each.high for each in rates)
    assert all(each.counted >= FEWEST_ERRORS for each in rates if each.counted)


def test_a_band_is_reached_by_strangers_ten_and_a_hundred_times_more_rarely() -> None:
    shipped = load_calibration("opencv-zoo")
    cut = derive_cut(shipped, false_alerts=1e-3, faces=1, templates=1)
    for score, factor in ((cut.likely_score, 10), (cut.strong_score, 100)):
        assert find_score(shipped, cut.wanted_rate / factor)[0] == pytest.approx(score)
    assert cut.score < cut.likely_score < cut.strong_score


def test_the_number_of_alerts_that_is_stated_includes_chance_and_other_people() -> None:
    shipped = load_calibration("opencv-zoo")
    cut = derive_cut(shipped, false_alerts=1e-5, faces=1, templates=1)
    low, high = state_alerts(shipped, cut, faces=3000, templates=1000)
    assert low < 3e6 * cut.interval[0] < 30 < 3e6 * cut.interval[1] < high
    fewer = state_alerts(shipped, cut, faces=300, templates=10_000)
    assert fewer[0] < low < high < fewer[1], "the same comparisons with fewer strangers say less"


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
