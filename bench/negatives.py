"""What "this is not me" does, on labelled faces (one folder a person): one picture of each person enrols.

Whoever a stranger's face alerts says so of the nearest one; then it is counted how many of that stranger's other faces
are held, and how many of the person's own are lost. Beside it, what a wrong judgement costs: one of their own faces is
the negative. The space that is shipped decides; captions of LFW that are wrong, and twins, count as strangers.

example:
  .venv/bin/python -m bench.negatives --cut 0.38
"""

import argparse
from collections import defaultdict
from uuid import UUID

import numpy as np
import numpy.typing as npt

from bench.faces import embed_images, list_images
from bench.report import Report, add_folder, add_options, find_folder
from matcher.calibration import Cut
from matcher.decide import NOT_THEM, Candidate, Negative, decide_probe
from matcher.space import load_space
from vault.keys import Vectors

CUT = 0.38  # far below what a budget gives for so many people, so that hundreds of them are alerted by a stranger

SOMEBODY = UUID(int=1)

Counts = dict[str, int]
Numbers = npt.NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_folder(parser)
    parser.add_argument("--cut", type=float, default=CUT)
    parser.add_argument("--processes", type=int, default=2)
    add_options(parser)
    args = parser.parse_args()
    args.folder = find_folder(args.folder)
    own: dict[str, list[str]] = defaultdict(list)
    for image in list_images(args.folder):
        own[image.split("/")[0]].append(image)
    enrolled = {name: images[0] for name, images in own.items() if len(images) > 1}
    if args.quick:
        enrolled = dict(list(enrolled.items())[::10])
    images = sorted(set().union(*own.values()) - set(enrolled.values()))
    probes = embed_images(args.folder, images, "probe", processes=args.processes)
    templates = embed_images(args.folder, list(enrolled.values()), "enrolled", processes=args.processes)
    space = load_space("opencv-zoo")
    seen = probes.found
    vectors = np.zeros_like(probes.rows["again"])
    vectors[seen] = space.convert(probes.rows["again"][seen])
    factors = space.weigh(probes.rows["length"])
    people = np.array(probes.people)
    cut = Cut(score=args.cut, strong_score=1.0, rate=0.0, wanted_rate=0.0, calibration_id="bench")
    counts: Counts = defaultdict(int)
    for name, template in zip(enrolled, templates.rows["enrolled"], strict=True):
        if template.any():
            scores = vectors @ space.convert(template[None])[0] * factors
            count_person(counts, vectors, factors, scores, people, name, cut)
    report = Report("negatives", args).settings(probes.settings).describe(folder=args.folder.name, **counts)
    report.add("negatives.people_alerted_by_a_stranger", counts["alerted"], "people")
    report.add("negatives.strangers_other_faces_held", share(counts, "repeats_held", "repeats"), "%")
    report.add("negatives.own_faces_lost", share(counts, "mates_lost", "mates"), "%")
    report.add("negatives.own_faces_held_when_judged_wrongly", share(counts, "wrongly_lost", "wrongly"), "%")
    report.show()
    report.write(args.json)


def count_person(
    counts: Counts, vectors: Vectors, factors: Vectors, scores: Vectors, people: npt.NDArray[np.str_], name: str,
    cut: Cut,
) -> None:  # fmt: skip
    """Every face above the cut for one person, `scores` with their template, once with a stranger's face as the
    negative and once with one of their own."""

    def count_held(faces: Numbers, negative: int) -> int:
        near = vectors[faces] @ vectors[negative] * factors[faces]
        return sum(is_held(*pair, cut) for pair in zip(scores[faces].tolist(), near.tolist(), strict=True))

    alerts = np.flatnonzero(scores >= cut.score)
    mates, strangers = alerts[people[alerts] == name], alerts[people[alerts] != name]
    if len(strangers):
        judged = int(strangers[scores[strangers].argmax()])
        repeats = strangers[(people[strangers] == people[judged]) & (strangers != judged)]
        counts["alerted"] += 1
        counts["repeats"] += len(repeats)
        counts["repeats_held"] += count_held(repeats, judged)
        counts["mates"] += len(mates)
        counts["mates_lost"] += count_held(mates, judged)
    if len(mates) > 1:
        counts["wrongly"] += len(mates) - 1
        counts["wrongly_lost"] += count_held(mates[1:], int(mates[0]))


def is_held(score: float, near: float, cut: Cut) -> bool:
    """Is a face that scores so with its person and so with their negative held back?"""
    candidate = Candidate(template_id=1, subject_id=SOMEBODY, consent_id=SOMEBODY, score=score)
    negative = Negative(negative_id=1, subject_id=SOMEBODY, score=near)
    return [each.held for each in decide_probe([candidate], cut, [negative])] == [NOT_THEM]


def share(counts: Counts, part: str, whole: str) -> float:
    return 100.0 * counts[part] / max(1, counts[whole])


if __name__ == "__main__":
    main()
