"""Measure a pack: in comes a folder of labelled faces (one a person), out come its space and its calibration record.

    python -m bench.calibrate --folder FOLDER --name "LFW deep-funneled"
    python -m bench.calibrate --folder FOLDER --name "our staff, with consent" --out DIR    (elsewhere, to look at it)

Only people of calibration names are used (`matcher.calibration.is_calibration_name`); benches and demo draw from the
others. Compared as in use: a probe is the second look at a face, a template the enrolled way (one a person, the first
picture), the score the one that decides. The space is trained on all of these people; for the calibration each half of
them is scored in a space trained on the other half, so that no pair is scored in a space that knows its probe. The
highest scores of strangers are listed (who, who, score), not kept: one person under two names looks like an impostor.
Somebody looks at both pictures, and says what they saw: --same "A,B" for one person under two names, --drop A for a
folder that shows somebody else, --leave-out "A,B" for a pair that cannot be told; such a pair counts neither as mates
nor as strangers. The record says how many of each there were, and names nobody.
"""

import argparse
import datetime as dt
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.accuracy import is_other_half, train_on
from bench.faces import Embedded, embed_images, list_images, open_engine
from matcher.calibration import FEWEST_ERRORS, FORMAT, derive_cut, is_calibration_name, parse_calibration
from matcher.impostors import BINS, MOST_TOPS, count_scores, describe_counts, list_counts, list_rates, write_rates
from matcher.space import QUALITIES, Space, make_space, name_quality
from matcher.tails import Tops

LISTED = 12
CAVEAT = (
    "public figures, mostly adult, male and light-skinned; the model may have seen them in training; the pairs are not "
    "independent, so rates counted from few errors are looser than they look"
)

Counts = npt.NDArray[np.int64]


class Tally:
    """Histograms of the scores of strangers and mates, and the highest of strangers one by one."""

    def __init__(self, left_out: frozenset[tuple[int, int]] = frozenset()) -> None:
        self.left_out = left_out  # people who are one, under two names
        self.impostor = {name: np.zeros(BINS, np.int64) for name in QUALITIES}
        self.genuine = np.zeros(BINS, np.int64)
        self.tops: list[tuple[npt.NDArray[np.float64], Counts, Counts]] = []

    def add(
        self, scores: npt.NDArray[np.float64], people: Counts, owners: Counts, own: npt.NDArray[np.bool_],
        qualities: npt.NDArray[Any],
    ) -> None:  # fmt: skip
        """(p, t) scores; `own`: pairs of one and the same picture, which are neither."""
        same = people[:, None] == owners[None]
        self.genuine += count_scores(scores[same & ~own])
        for one, other in self.left_out:
            same |= (people[:, None] == one) & (owners[None] == other)
        for name in QUALITIES:
            self.impostor[name] += count_scores(scores[(qualities == name)[:, None] & ~same])
        strangers = np.where(same, -9.0, scores)
        cut = np.partition(strangers.ravel(), -MOST_TOPS // 4)[-MOST_TOPS // 4]
        left, right = np.nonzero(strangers >= cut)
        self.tops.append((strangers[left, right], people[left], owners[right]))

    def list_tops(self) -> Tops:
        scores, left, right = (np.concatenate(parts) for parts in zip(*self.tops, strict=True))
        order = np.argsort(-scores, kind="stable")[:MOST_TOPS]
        pairs = int(sum(counts.sum() for counts in self.impostor.values()))
        return Tops(scores=scores[order], left=left[order], right=right[order], pairs=pairs,
                    people=int(max(left.max(), right.max())) + 1)  # fmt: skip


def tally_scores(probes: Embedded, templates: Embedded, left_out: list[list[str]]) -> Tally:
    """Every probe with every template, each half's probes in the space of the other half."""
    names = {name: number for number, name in enumerate(sorted(set(probes.people)))}
    kept = np.flatnonzero(templates.rows["enrolled"].any(axis=1))
    enrolled = templates.rows["enrolled"][kept]
    owners = np.array([names[templates.people[row]] for row in kept])
    pictures = np.array(templates.images)[kept]
    half = np.array([is_other_half(person) for person in probes.people])
    pairs = [(names[one], names[other]) for one, other in left_out]
    tally = Tally(frozenset([*pairs, *((other, one) for one, other in pairs)]))
    for part in (False, True):
        space = train_on(probes, half != part)
        rows = np.flatnonzero((half == part) & probes.found)
        gallery = space.convert(enrolled)
        for at in range(0, len(rows), 1000):
            block = rows[at : at + 1000]
            lengths = probes.rows["length"][block]
            scores = (space.convert(probes.rows["again"][block]) @ gallery.T) * space.weigh(lengths)[:, None]
            tally.add(
                np.asarray(scores, np.float64),
                np.array([names[probes.people[row]] for row in block]),
                owners,
                np.array(probes.images)[block][:, None] == pictures[None],
                np.array([name_quality(space, float(length)) for length in lengths]),
            )
    return tally


def make_record(
    tally: Tally, probes: Embedded, space: Space, name: str, seen: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """`seen`: what somebody saw who looked at the pictures behind the highest scores, with the reason."""
    pack = open_engine().pack
    impostor = sum(tally.impostor.values(), np.zeros(BINS, np.int64))
    rates = list_rates(tally.list_tops(), FEWEST_ERRORS)
    return {
        "format": FORMAT,
        "pack": pack.name,
        "detector_sha256": pack.detector.sha256,
        "recogniser_sha256": pack.recogniser.sha256,
        "space": space.space_id,
        "method": "second look (two scales, mirrored) times its factor against a template of variants, in the space; "
        "each half of the people in a space of the other half; f32",
        "measured": dt.datetime.now(dt.UTC).date().isoformat(),
        "data": describe_data(probes, name) | seen | {"pairs_of_people_left_out": len(tally.left_out) // 2},
        "impostor": describe_counts(impostor),
        "genuine": {"pairs": int(tally.genuine.sum()), "counts": list_counts(tally.genuine)},
        "qualities": {name: {"pairs": int(counts.sum()), "counts": list_counts(thin_counts(counts))}
                      for name, counts in tally.impostor.items()},
        "rates": write_rates(rates),
    }  # fmt: skip


def thin_counts(counts: Counts) -> Counts:
    """Of a quality only the upper part: what may be a cut."""
    at = int(np.searchsorted(np.cumsum(counts), 0.99 * counts.sum()))
    return np.where(np.arange(BINS) >= at, counts, 0)


def describe_data(probes: Embedded, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "people": len(set(probes.people)),
        "images": int(probes.found.sum()),
        "selection": "names whose SHA-256 has an odd first byte; the face nearest the centre",
        "caveat": CAVEAT,
    }


def join_people(embedded: Embedded, same: list[list[str]]) -> Embedded:
    """The second name of each pair is the first's."""
    names = {other: one for one, other in same}
    return replace(embedded, people=tuple(names.get(person, person) for person in embedded.people))


def describe_seen(same: list[list[str]], drop: list[str]) -> dict[str, dict[str, Any]]:
    return {
        "people_dropped": {
            "count": len(drop),
            "reason": "looked at: the only picture shows another person",
        },
        "people_joined": {"count": len(same), "reason": "looked at: one person under two names"},
    }


def split_pair(text: str) -> list[str]:
    one, other = text.split(",")
    return [one, other]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--name", required=True, help="what the data are called in the records")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "matcher",
                        help="the folder in which spaces/ and calibrations/ lie")  # fmt: skip
    parser.add_argument("--leave-out", action="append", default=[], metavar="A,B", type=split_pair,
                        help="two folders that show one person, as somebody saw who looked at them")  # fmt: skip
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--same", action="append", default=[], metavar="A,B", type=split_pair,
                        help="one person under two names, as somebody saw who looked at both")  # fmt: skip
    parser.add_argument("--drop", action="append", default=[], metavar="NAME",
                        help="a folder whose picture shows somebody else, as somebody saw")  # fmt: skip
    args = parser.parse_args()
    started = time.monotonic()
    images = [image for image in list_images(args.folder) if is_calibration_name(image.split("/")[0])]
    images = [image for image in images if image.split("/")[0] not in args.drop]
    first = {image.split("/")[0]: image for image in reversed(images)}
    probes = join_people(embed_images(args.folder, images, "probe", processes=args.processes), args.same)
    templates = embed_images(args.folder, sorted(first.values()), "enrolled", processes=args.processes)
    templates = join_people(templates, args.same)
    pack = open_engine().pack
    trained = train_on(probes, probes.found)
    assert trained.mean is not None
    assert trained.matrix is not None
    space = make_space(trained.mean, trained.matrix, trained.usual_length, pack=pack.name,
                       recogniser_sha256=pack.recogniser.sha256, data=describe_data(probes, args.name))  # fmt: skip
    tally = tally_scores(probes, templates, args.leave_out)
    record = make_record(tally, probes, space, args.name, describe_seen(args.same, args.drop))
    file = f"{pack.name.replace(':', '_')}.json"
    for folder, table in (("spaces", space.record), ("calibrations", record)):
        path = args.out / folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(table, ensure_ascii=False) + "\n", encoding="utf-8")
    show(record, tally, sorted(set(probes.people)), time.monotonic() - started)


def show(record: dict[str, Any], tally: Tally, names: list[str], seconds: float) -> None:
    calibration = parse_calibration(json.dumps(record))
    print(f"{record['data']['images']} images of {len(names)} people, {calibration.pairs} pairs, {seconds:.0f} s")
    print("false match rate   cut   interval of the rate")
    for rate in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8):
        cut = derive_cut(calibration, false_alerts=rate, faces=1, templates=1)
        low, high = cut.interval
        said = "" if cut.supported else f"  (not supported; held up to {cut.sent_score:.3f})"
        print(f"{rate:16.0e}   {cut.score:.3f}   {low:.1e} to {high:.1e}{said}")
    print("highest scores of strangers, to be looked at:")
    tops = tally.list_tops()
    for score, left, right in zip(tops.scores[:LISTED], tops.left[:LISTED], tops.right[:LISTED], strict=True):
        print(f"  {score:.3f}  {names[left]}  {names[right]}")


if __name__ == "__main__":
    main()
