"""The false-alert budget, kept or not: days of strangers against galleries, with the calibration that is shipped.

    python -m bench.budget          (LFW under FACEWARDEN_EVAL_DATA, people whom the calibration has not seen)

A gallery and the strangers are drawn anew for each of 20 resamplings from the people of the other half; a day is one
dataset of strangers' faces, drawn with replacement; volumes are set so that the budget asks for a rate that the data
support. Counted are alerts as sent: one person, one dataset, nothing held. Held faces are shown beside them. Last come
galleries for which the calibration must say that it cannot know.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from bench.faces import embed_images, list_images
from bench.report import Report, add_folder, add_options, find_folder
from matcher.calibration import Cut, derive_cut, find_shortfall, is_calibration_name, load_calibration, state_alerts
from matcher.decide import BEYOND_DATA, HUB_SUSPECT, Candidate, decide_probe
from matcher.space import load_space

PACK = "opencv-zoo"
RESAMPLES = 20
EXPECTED = 30.0  # false alerts that a simulation must expect
BUDGETS = ((1.0, 2.0), (10.0, 6.0))  # alerts a day, and the rate to ask for as a multiple of the lowest counted one
UNKNOWABLE = (10_000, 100_000)  # templates, at a million faces a day and one alert

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """(n, t) scores of every picture of the tested half with every first picture of a person, and who they are."""

    scores: npt.NDArray[np.float32]
    people: Numbers
    owners: Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Days:
    """What came of the days of one resampling."""

    expected: float
    sent: int
    held: int
    stated: tuple[float, float]

    @property
    def within(self) -> bool:
        return self.stated[0] <= self.sent <= self.stated[1]


def score_tested(folder: Path, processes: int) -> Tested:
    """In the shipped space, second look times its factor: the score that decides."""
    images = [image for image in list_images(folder) if not is_calibration_name(image.split("/")[0])]
    first = {image.split("/")[0]: image for image in reversed(images)}
    probes = embed_images(folder, images, "probe", processes=processes)
    templates = embed_images(folder, sorted(first.values()), "enrolled", processes=processes)
    space = load_space(PACK)
    names = {name: number for number, name in enumerate(sorted(first))}
    gallery = space.convert(templates.rows["enrolled"])
    factors = space.weigh(probes.rows["length"])
    return Tested(
        scores=np.asarray((space.convert(probes.rows["again"]) @ gallery.T) * factors[:, None], np.float32),
        people=np.array([names[person] for person in probes.people]),
        owners=np.array([names[person] for person in templates.people]),
    )


def simulate_days(tested: Tested, templates: int, budget: float, volume: int, seed: int) -> Days:
    """Days enough for EXPECTED false alerts; nobody of the gallery is among the strangers."""
    chance = np.random.default_rng(seed)
    order = chance.permutation(len(tested.owners))
    gallery = order[:templates]
    strangers = chance.choice(order[templates:], len(order) - templates)  # people, with replacement
    faces = np.concatenate([np.flatnonzero(tested.people == person) for person in tested.owners[strangers]])
    calibration = load_calibration(PACK)
    cut = derive_cut(calibration, false_alerts=budget, faces=volume, templates=templates)
    days = int(np.ceil(EXPECTED / budget))
    sent = held = 0
    for _ in range(days):
        alerts, kept_back = count_day(tested.scores[np.ix_(chance.choice(faces, volume), gallery)], cut)
        sent, held = sent + alerts, held + kept_back
    return Days(expected=budget * days, sent=sent, held=held,
                stated=state_alerts(calibration, cut, faces=days * volume, templates=templates))  # fmt: skip


def count_day(scores: npt.NDArray[np.float32], cut: Cut) -> tuple[int, int]:
    """Alerts sent and faces held of one dataset, decided as the product decides."""
    found: dict[int, list[Candidate]] = {}
    for row, column in np.argwhere(scores >= cut.score).tolist():
        person = UUID(int=column)
        found.setdefault(row, []).append(Candidate(template_id=column, subject_id=person, consent_id=person,
                                                   score=float(scores[row, column])))  # fmt: skip
    sent: set[UUID] = set()
    held = 0
    for candidates in found.values():
        decisions = decide_probe(candidates, cut)
        sent |= {each.candidate.subject_id for each in decisions if each.held is None}
        held += any(each.held in (HUB_SUSPECT, BEYOND_DATA) for each in decisions)
    return len(sent), held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folder(parser)
    parser.add_argument("--processes", type=int, default=2)
    add_options(parser)
    args = parser.parse_args()
    args.folder = find_folder(args.folder)
    report = Report("budget", args)
    tested = score_tested(args.folder, args.processes)
    people = len(tested.owners)
    largest = people * 2 // 3  # a third are the strangers
    calibration = load_calibration(PACK)
    report.describe(folder=args.folder.name, people=people, calibration=calibration.calibration_id,
                    resamplings=RESAMPLES)  # fmt: skip
    grid = Table("templates", "budget, faces a day", "rate", "sent of expected (median, all)", "1/3 to 2", "stated",
                 "held")  # fmt: skip
    for templates in (min(1000, largest), largest):
        for budget, multiple in BUDGETS:
            volume = round(budget / (multiple * calibration.lowest_rate) / templates)
            runs = [simulate_days(tested, templates, budget, volume, seed) for seed in range(RESAMPLES)]
            ratios = sorted(run.sent / run.expected for run in runs)
            within = sum(run.within for run in runs)
            median = float(np.median(ratios))
            between = sum(1 / 3 <= ratio <= 2 for ratio in ratios)
            grid.add_row(f"{templates:,}", f"{budget:g}, {volume:,}", f"{budget / volume / templates:.1e}",
                         f"{median:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})", f"{between} of {RESAMPLES}",
                         f"{within} of {RESAMPLES}", str(sum(run.held for run in runs)))  # fmt: skip
            name = f"budget.{'1000' if templates == 1000 else 'largest'}_{budget:g}"
            report.add(f"{name}_ratio", round(median, 3), "x of budget", bar="<= 2")
            report.add(f"{name}_ratio_low", round(median, 3), "x of budget", bar=">= 0.333")
            report.add(f"{name}_between_third_and_twice", between, f"of {RESAMPLES}")
            report.add(f"{name}_within", within, f"of {RESAMPLES}", bar=">= 18")
    for templates in UNKNOWABLE:
        cut = derive_cut(calibration, false_alerts=1, faces=1e6, templates=templates)
        lacking = find_shortfall(calibration, cut)
        report.add(f"budget.unknown_{templates}", float(not cut.supported), "said", bar=">= 1")
        report.add(f"budget.missing_pairs_{templates}", lacking.missing_pairs, "impostor pairs")
        report.add(f"budget.missing_people_{templates}", lacking.missing_people, "people")
    Console(highlight=False).print(grid)
    report.show()
    report.write(args.json)
    raise SystemExit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
