"""From a false-alert budget to a cut: in comes a calibration record (how strangers score), out comes a threshold.

The record is a histogram of impostor scores (non-mate comparisons of named data, no images), measured with the very
models and the way of comparing that are used, and a table of rates with intervals that goes on where nothing can be
counted any more (`matcher/tails.py`); every match row names the record that gave its cut.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from matcher.tails import Rate
from vault.errors import CalibrationError

FOLDER = Path(__file__).parent / "calibrations"
FORMATS = (1, 2)  # 2: with rates, intervals, genuine scores and quality bins
FORMAT = 2
OWN = "own"  # origin of a record that the operator measured on faces that are kept
FEWEST_ERRORS = 30  # a rate counted from fewer false matches is not supported ("rule of 30": Doddington et al. 2000)
MODELLED_DECADES = 10.0  # a tail model may go this far below the lowest counted rate
RATE_FIELDS = ("score", "rate", "low", "high", "counted")
LIKELY_FACTOR = 10.0  # "likely": so many times rarer
STRONG_FACTOR = 100.0  # "strong": this many times rarer among strangers than the cut, as far as the data go


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """`counts[i]` impostor comparisons scored in [low + i·width, low + (i+1)·width)."""

    calibration_id: str
    pack: str
    recogniser_sha256: str
    low: float
    width: float
    counts: tuple[int, ...]
    data: str
    caveat: str
    record: dict[str, Any]
    rates: tuple[Rate, ...] = ()  # by ascending score
    genuine: tuple[int, ...] = ()  # mates' scores in the same bins
    people: int = 0
    space_id: str = "plain"

    @property
    def pairs(self) -> int:
        return sum(self.counts)

    @property
    def lowest_modelled(self) -> float:
        """The lowest false match rate that data and tail model support."""
        return self.lowest_rate / MODELLED_DECADES if self.rates else self.lowest_rate

    @property
    def lowest_rate(self) -> float:
        """The lowest false match rate that the data support."""
        return FEWEST_ERRORS / self.pairs


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Where to draw the line. `rate`: the false match rate (per comparison) at `score`; `wanted_rate`: what the budget
    asks for; they differ when the data cannot support the wanted one. Then what lies between `score` and `sent_score`,
    where the wanted rate might be, is held for review."""

    score: float
    strong_score: float
    rate: float
    wanted_rate: float
    calibration_id: str
    likely_score: float = 1.0
    sent_score: float = -1.0  # no higher than `score`: everything above the cut is sent
    interval: tuple[float, float] = (0.0, 1.0)  # 95 %, of `rate`

    @property
    def supported(self) -> bool:
        return self.rate <= self.wanted_rate


def is_calibration_name(name: str) -> bool:
    """Do calibrations use people of this name? Half of all names, so that measurements and the demo can draw their
    people from the other half: the last bit of the first byte of SHA-256 of the name."""
    return bool(hashlib.sha256(name.encode()).digest()[0] & 1)


def parse_calibration(text: str) -> Calibration:
    """A record as `bench/calibrate.py` writes it. Raises CalibrationError."""
    try:
        record = json.loads(text)
        if record["format"] not in FORMATS:
            raise ValueError(f"format {record['format']}")
        bins = record["impostor"]
        counts = [0] * int(bins["bins"])
        for index, count in bins["counts"]:
            counts[int(index)] = int(count)
        if min(counts) < 0 or sum(counts) != int(bins["pairs"]):
            raise ValueError("the counts do not add up")
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        return Calibration(
            calibration_id=f"{record['pack']}-{digest[:12]}",
            pack=str(record["pack"]),
            recogniser_sha256=str(record["recogniser_sha256"]),
            low=float(bins["low"]),
            width=float(bins["width"]),
            counts=tuple(counts),
            data=str(record["data"]["name"]),
            caveat=str(record["data"]["caveat"]),
            record=record,
            rates=tuple(Rate(**dict(zip(RATE_FIELDS, row, strict=True))) for row in record.get("rates", ())),
            genuine=tuple(read_bins(record["genuine"], len(counts))) if "genuine" in record else (),
            people=int(record["data"].get("people", 0)),
            space_id=str(record.get("space", "plain")),
        )
    except (ValueError, KeyError, TypeError, IndexError) as exc:
        raise CalibrationError(f"a calibration record is damaged: {exc}", mend="put the released file back") from exc


def read_calibration(record: dict[str, Any]) -> Calibration:
    """As `parse_calibration`, of a record that is not text any more."""
    return parse_calibration(json.dumps(record))


def prefer_own(shipped: Calibration, own: dict[str, Any] | None) -> Calibration:
    """The operator's own record, if there is one and it was measured with the models and in the space in use."""
    if own is None:
        return shipped
    measured = read_calibration(own)
    fits = (measured.recogniser_sha256, measured.space_id) == (shipped.recogniser_sha256, shipped.space_id)
    return measured if fits else shipped


def read_bins(bins: dict[str, Any], size: int) -> list[int]:
    counts = [0] * size
    for index, count in bins["counts"]:
        counts[int(index)] = int(count)
    return counts


@lru_cache(maxsize=8)
def load_calibration(pack: str) -> Calibration:
    """The record shipped with a pack. Raises CalibrationError for a pack that has none."""
    path = FOLDER / f"{pack.replace(':', '_')}.json"
    try:
        return parse_calibration(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise CalibrationError(
            f"no calibration for the pack {pack}",
            mend="measure one with: bench/calibrate.py --pack NAME --folder FOLDER_OF_LABELLED_FACES",
        ) from exc


def find_score(calibration: Calibration, rate: float) -> tuple[float, float]:
    """The lowest bin edge at which the counted false match rate is at most `rate`: (score, rate there)."""
    pairs = calibration.pairs
    above = 0
    for index in range(len(calibration.counts) - 1, -1, -1):
        if (above + calibration.counts[index]) / pairs > rate:
            return calibration.low + (index + 1) * calibration.width, above / pairs
        above += calibration.counts[index]
    return calibration.low, 1.0


def find_low_score(calibration: Calibration, rate: float) -> tuple[float, float]:
    """As `find_score`, by the table of rates, for a rate below those that can be counted: (score, rate there)."""
    for each in calibration.rates:
        if each.rate <= rate and each.score >= find_score(calibration, calibration.lowest_rate)[0]:
            return each.score, each.rate
    return (calibration.rates[-1].score, calibration.rates[-1].rate) if calibration.rates else find_score(
        calibration, calibration.lowest_rate
    )  # fmt: skip


def find_cut(calibration: Calibration, rate: float) -> tuple[float, float]:
    """Counted where the data allow, else modelled: (score, rate there)."""
    if rate >= calibration.lowest_rate or not calibration.rates:
        return find_score(calibration, max(rate, calibration.lowest_rate))
    return find_low_score(calibration, rate)


def find_interval(calibration: Calibration, score: float) -> tuple[float, float]:
    """The 95 % interval of the false match rate at a score; (0, 1) where none was measured."""
    near = [each for each in calibration.rates if each.score <= score + 1e-9]
    return (near[-1].low, near[-1].high) if near else (0.0, 1.0)


def derive_cut(calibration: Calibration, *, false_alerts: float, faces: float, templates: int) -> Cut:
    """The cut at which `faces` harvested faces, each compared with `templates` templates, give `false_alerts` false
    matches on average: wanted rate = false alerts / (faces · templates). Never below what data and tail support."""
    wanted = min(1.0, false_alerts / (faces * max(templates, 1)))
    supported = max(wanted, calibration.lowest_modelled)
    score, rate = find_cut(calibration, supported)
    strong, _ = find_cut(calibration, max(wanted / STRONG_FACTOR, calibration.lowest_modelled))
    likely, _ = find_cut(calibration, max(wanted / LIKELY_FACTOR, calibration.lowest_modelled))
    sent = score
    if wanted < supported:
        rate = max(rate, calibration.lowest_modelled)
        sent = find_cut(calibration, wanted)[0]
    return Cut(
        score=score,
        strong_score=max(strong, sent),
        rate=max(rate, min(1 / calibration.pairs, supported)),
        wanted_rate=wanted,
        calibration_id=calibration.calibration_id,
        likely_score=min(max(likely, sent), max(strong, sent)),
        sent_score=sent,
        interval=find_interval(calibration, score),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Shortfall:
    """What a calibration lacks for a wanted rate. `*_missed`: shares of mates below the supported and the wanted cut,
    None where no genuine scores were measured."""

    missing_pairs: int
    missing_people: int
    supported_missed: float | None
    wanted_missed: float | None


def find_shortfall(calibration: Calibration, cut: Cut) -> Shortfall:
    """Pairs grow with the square of people. With a tail model a rate r needs FEWEST_ERRORS / (10·r) pairs, else
    FEWEST_ERRORS / r."""
    decades = MODELLED_DECADES if calibration.rates else 1.0
    needed = FEWEST_ERRORS / (decades * cut.wanted_rate)
    pairs = max(0, round(needed - calibration.pairs))
    people = round(calibration.people * ((needed / calibration.pairs) ** 0.5 - 1)) if pairs else 0
    return Shortfall(
        missing_pairs=pairs,
        missing_people=people,
        supported_missed=miss_mates(calibration, cut.score),
        wanted_missed=miss_mates(calibration, cut.sent_score),
    )


def miss_mates(calibration: Calibration, score: float) -> float | None:
    """The share of mates of the calibration below a score (FNMR)."""
    if not sum(calibration.genuine):
        return None
    at = round((score - calibration.low) / calibration.width)
    return sum(calibration.genuine[: max(at, 0)]) / sum(calibration.genuine)


def state_alerts(calibration: Calibration, cut: Cut, *, faces: float, templates: int) -> tuple[float, float]:
    """The 95 % interval of the number of false matches of so many faces with so many templates. Three things are
    uncertain: the rate, as its interval says; who the strangers are, people drawn like those of the calibration, so the
    logarithm of the interval widens by sqrt(1 + people / faces); and chance, a Poisson number by the square-root
    approximation (Anscombe 1948)."""
    widen = (1 + calibration.people / max(faces, 1.0)) ** 0.5
    low, high = (faces * templates * cut.rate * (edge / cut.rate) ** widen for edge in cut.interval)
    return max(0.0, low**0.5 - 1) ** 2, (high**0.5 + 1) ** 2
