"""From a false-alert budget to a cut: in comes a calibration record (how strangers score), out comes a threshold.

The record is a histogram of impostor scores (non-mate comparisons of named data, no images), measured with the very
models and the way of comparing that are used; every match row names the record that gave its cut.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from vault.errors import CalibrationError

FOLDER = Path(__file__).parent / "calibrations"
FORMAT = 1
FEWEST_ERRORS = 30  # a rate counted from fewer false matches is not supported ("rule of 30": Doddington et al. 2000)
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

    @property
    def pairs(self) -> int:
        return sum(self.counts)

    @property
    def lowest_rate(self) -> float:
        """The lowest false match rate that the data support."""
        return FEWEST_ERRORS / self.pairs


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """Where to draw the line. `rate`: the false match rate (per comparison) at `score`; `wanted_rate`: what the budget
    asks for; they differ when the data cannot support the wanted one."""

    score: float
    strong_score: float
    rate: float
    wanted_rate: float
    calibration_id: str

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
        if record["format"] != FORMAT:
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
        )
    except (ValueError, KeyError, TypeError, IndexError) as exc:
        raise CalibrationError(f"a calibration record is damaged: {exc}", mend="put the released file back") from exc


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


def derive_cut(calibration: Calibration, *, false_alerts: float, faces: float, templates: int) -> Cut:
    """The cut at which `faces` harvested faces, each compared with `templates` templates, give `false_alerts` false
    matches on average: wanted rate = false alerts / (faces · templates). Never below what the data support."""
    wanted = min(1.0, false_alerts / (faces * max(templates, 1)))
    score, rate = find_score(calibration, max(wanted, calibration.lowest_rate))
    strong, _ = find_score(calibration, max(wanted / STRONG_FACTOR, calibration.lowest_rate))
    return Cut(
        score=score,
        strong_score=max(strong, score),
        rate=max(rate, 1 / calibration.pairs) if wanted >= calibration.lowest_rate else calibration.lowest_rate,
        wanted_rate=wanted,
        calibration_id=calibration.calibration_id,
    )
