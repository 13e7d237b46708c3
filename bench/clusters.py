"""Several pictures of one person in a dataset: are more people found when their cluster decides than when each does?

    python -m bench.clusters [--pictures 5] [--shuffled]    (LFW under FACEWARDEN_EVAL_DATA, vectors of bench.accuracy)

One leak a half of LFW, as in bench/accuracy.py, in the space of the other half; up to so many pictures of everybody,
person by person or shuffled, matched in batches as in workers/match_faces.py. Mates have two pictures beside the one
that is enrolled. Non-mates have two pictures and are searched among everybody's templates but their own. A person
counts once: alerted or not. The cut is the same for both ways, from the shipped calibration of single faces, so the
people alerted wrongly say whether that calibration holds for clusters; and one way at a time, at an FPIR of people.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from bench.accuracy import (
    CAVEAT,
    Numbers,
    Protocol,
    Scores,
    choose_spaces,
    find_interval,
    name_person,
    read_protocol,
    thin_protocol,
)
from bench.faces import Embedded, embed_images
from bench.report import Report, add_folder, add_options, find_folder
from matcher.calibration import find_cut, is_calibration_name, load_calibration
from matcher.clusters import SAME_PERSON_RATE, pool_faces
from matcher.decide import LOOK_AGAIN
from vault.keys import Vectors
from workers.match_faces import BATCH

RATES = (1e-5, 5e-6, 2e-6, 1e-6, 5e-7, 2e-7)
PEOPLE_RATES = (0.01, 0.003)
CUTS = np.arange(0.36, 0.72, 0.01)
QUICK_SHARE = 12
TWO_NAMES = frozenset(("Joseph_Blatter", "Sepp_Blatter"))  # one person, enrolled twice
ALONE = 9.0  # no score is so high: each face decides alone

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """Faces in the order in which they are matched: (n, t) first looks, second looks with factors, who they are, and
    (n, t) the templates that count for each."""

    first: npt.NDArray[np.float32]
    again: Vectors
    factors: npt.NDArray[np.float32]
    people: Numbers
    counted: Flags
    gallery: Vectors
    mates: bool


def lay_out(
    protocol: Protocol, probes: Embedded, templates: Vectors, *, mates: bool, pictures: int, shuffled: bool
) -> list[Leak]:
    """One leak a half; people by their place among all names."""
    chance = np.random.default_rng(1)
    numbers = np.unique(probes.people, return_inverse=True)[1]
    half = np.array([is_calibration_name(person) for person in probes.people])
    enrolled = set(protocol.enrolled)
    place = {image: row for row, image in enumerate(probes.images)}
    owners = numbers[[place[image] for image in protocol.enrolled]]
    choose = choose_spaces("halves", probes)
    leaks = []
    for part in (0, 1):
        rows: list[int] = []
        for person in chance.permutation(np.unique(numbers[half == part])):
            own = [row for row in np.flatnonzero((numbers == person) & probes.found)
                   if not mates or probes.images[row] not in enrolled]  # fmt: skip
            if len(own) > 1 and not (not mates and probes.people[own[0]] in TWO_NAMES):
                rows += chance.permutation(own)[:pictures].tolist()
        at = chance.permutation(rows) if shuffled else np.array(rows)
        space = choose(part)
        gallery = space.convert(templates)
        is_own = numbers[at][:, None] == owners
        leaks.append(Leak(
            first=np.where(is_own if mates else ~is_own, space.convert(probes.rows["first"][at]) @ gallery.T, -9),
            again=space.convert(probes.rows["again"][at]), factors=space.weigh(probes.rows["length"][at]),
            people=numbers[at], counted=is_own if mates else ~is_own, gallery=gallery,
            mates=mates,
        ))  # fmt: skip
    return leaks


def alert_people(leaks: list[Leak], cut: float, same_person: float, count: int) -> Flags:
    """(count,) is somebody alerted? For mates the own template counts, for others those of nobody in the cluster."""
    alerted = np.zeros(count, bool)
    for leak in leaks:
        for start in range(0, len(leak.people), BATCH):
            near = start + np.flatnonzero(leak.first[start : start + BATCH].max(axis=1) >= cut - LOOK_AGAIN)
            vectors, factors, clusters = pool_faces(
                leak.again[near], leak.factors[near], np.zeros(len(near), np.int64), same_person
            )
            together = (clusters[:, None] == clusters).astype(np.float32)
            counted = leak.counted[near] if leak.mates else together @ ~leak.counted[near] == 0
            scores = np.where(counted, (vectors @ leak.gallery.T) * factors[:, None], -9)
            alerted[leak.people[near[scores.max(axis=1, initial=-9) >= cut]]] = True
    return alerted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folder(parser)
    parser.add_argument("--pictures", type=int, default=5, help="of one person, at most")
    parser.add_argument("--shuffled", action="store_true", help="not person by person")
    parser.add_argument("--processes", type=int, default=2)
    add_options(parser)
    args = parser.parse_args()
    args.folder = find_folder(args.folder)
    protocol = read_protocol(args.folder.parent / "protocols/lfw/lfw_openset_1N.tsv")
    if args.quick:
        protocol = thin_protocol(protocol, QUICK_SHARE)
    images = sorted({*protocol.enrolled, *protocol.probes})
    probes = embed_images(args.folder, images, "probe", processes=args.processes)
    templates = embed_images(args.folder, protocol.enrolled, "enrolled", processes=args.processes).rows["enrolled"]
    report = Report("clusters", args)
    report.settings(probes.settings).describe(caveat=CAVEAT)
    mates, others = (
        lay_out(protocol, probes, templates, mates=mates, pictures=args.pictures, shuffled=args.shuffled)
        for mates in (True, False)
    )
    measure(report, mates, others, len({name_person(image) for image in images}))
    report.show()
    report.write(args.json)


def measure(report: Report, mates: list[Leak], others: list[Leak], count: int) -> None:
    calibration = load_calibration("opencv-zoo")
    ways = {"faces": ALONE, "clusters": find_cut(calibration, SAME_PERSON_RATE)[0]}
    is_mate, is_other = (np.isin(np.arange(count), np.concatenate([leak.people for leak in leaks]))
                         for leaks in (mates, others))  # fmt: skip
    report.describe(mates=int(is_mate.sum()), nonmates=int(is_other.sum()), same_person=ways["clusters"])
    grid = Table("cut (FMR)", "missed: faces", "clusters", "more found", "no more found", "false alerts: faces",
                 "clusters", "95 % of their ratio")  # fmt: skip
    for rate in RATES:
        cut = find_cut(calibration, rate)[0]
        found = {way: alert_people(mates, cut, same, count) for way, same in ways.items()}
        false = {way: alert_people(others, cut, same, count) for way, same in ways.items()}
        for way in ways:
            missed = 100 * float((is_mate & ~found[way]).sum() / is_mate.sum())
            report.add(f"clusters.people_missed_{way}_at_fmr_{rate:.0e}", round(missed, 3), "%")
            report.add(f"clusters.people_falsely_alerted_{way}_at_fmr_{rate:.0e}", int(false[way].sum()), "people")
        low, high = find_interval(compare(false["clusters"], false["faces"]), count)
        grid.add_row(f"{cut:.3f} ({rate:.0e})", str((is_mate & ~found["faces"]).sum()),
                     str((is_mate & ~found["clusters"]).sum()), str((found["clusters"] & ~found["faces"]).sum()),
                     str((found["faces"] & ~found["clusters"]).sum()), str(false["faces"].sum()),
                     str(false["clusters"].sum()), f"{low:.2f}-{high:.2f}")  # fmt: skip
    for way, same in ways.items():
        found_at = np.array([alert_people(mates, cut, same, count) for cut in CUTS])
        false_at = np.array([alert_people(others, cut, same, count) for cut in CUTS])
        for rate in PEOPLE_RATES:
            at = int(np.argmax(false_at.sum(axis=1) <= rate * is_other.sum()))
            missed = 100 * float((is_mate & ~found_at[at]).sum() / is_mate.sum())
            name = f"{100 * rate:g}".replace(".", "_")
            report.add(f"clusters.fnir_{way}_at_fpir_{name}pct", round(missed, 3), f"% of people, cut {CUTS[at]:.2f}")
    Console(highlight=False).print(grid)


def compare(above: Flags, below: Flags) -> Callable[[Scores], float]:
    return lambda weights: float(weights @ above) / max(float(weights @ below), 1.0)


if __name__ == "__main__":
    main()
