"""measure how strangers score among the faces that are kept here, and use that instead of the record that is shipped

Counted are faces of different datasets (linked listings are one) in different pictures, of sources whose card two
approvers have signed. Pairs so alike that they may be one person are left out; how many is said, never which. Needs
faces of sources with the policy `retro`.

example:
  ./facewarden calibrate                   (shows what these faces would support; keeps nothing)
  ./facewarden calibrate --keep            (keeps the record; workers use it from their next start)
  ./facewarden calibrate --shipped         (back to the record that is shipped)
"""

import argparse
import datetime as dt
from typing import Any

import numpy as np

from cli.servers import open_database
from matcher.calibration import FEWEST_ERRORS, FORMAT, OWN, derive_cut, load_calibration, read_calibration
from matcher.impostors import Strangers, describe_counts, list_rates, tally_strangers, write_rates
from matcher.space import load_space
from vault.errors import CalibrationError
from vault.letters import count_of
from vault.settings import Settings
from vault.store.alerts import forget_own_calibrations, save_calibration
from vault.store.faces import UnmatchedFace, list_unmatched_faces
from vault.terminal import Grid, Screen, working
from workers.faces.packs import Pack, get_pack

MOST_FACES = 20_000  # the newest; the time grows with the square
FEWEST_FACES = 1000
SAME_RATE = 1e-6  # pairs above the shipped cut for this rate are taken for one person


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", action="store_true", help="keep the record, to be used from the next start on")
    parser.add_argument("--shipped", action="store_true", help="use the shipped record again")


def run(args: argparse.Namespace, settings: Settings) -> int:
    console = Screen()
    pack = get_pack(settings)
    with open_database(settings) as (settings, keys, conn):
        if args.shipped:
            forgotten = forget_own_calibrations(conn, pack.name)
            console.print(f"{count_of(forgotten, 'record')} {'is' if forgotten == 1 else 'are'} not used any more")
            return 0
        space = load_space(pack.name)
        keyed = space.bind(keys)
        kept = list_unmatched_faces(conn, pack.name, keyed.matrix_id(pack.dimension), MOST_FACES)
        if len(kept) < FEWEST_FACES:
            raise CalibrationError(
                f"{count_of(len(kept), 'kept face')} can be compared, {FEWEST_FACES:,} are needed",
                mend="retro sources with two signatures keep them; until then the shipped record is used",
            )
        with working(f"comparing {count_of(len(kept), 'face')} with one another"):
            strangers = tally_faces(kept, pack)
        record = make_record(strangers, kept, pack, space.space_id)
        show(console, strangers, kept, record)
        if args.keep:
            calibration = read_calibration(record)
            with conn.transaction():
                save_calibration(conn, calibration.calibration_id, pack.name, record)
            console.print(f"kept as {calibration.calibration_id}; workers use it from their next start")
    return 0


def tally_faces(kept: list[UnmatchedFace], pack: Pack) -> Strangers:
    """The score of a face as a probe with another as a template."""
    vectors = np.stack([np.frombuffer(face.template, "<f4") for face in kept]).astype(np.float32)
    lengths = np.array([face.length or 0.0 for face in kept], np.float32)
    pictures = np.unique([face.sha256 for face in kept], return_inverse=True)[1]
    same = derive_cut(load_calibration(pack.name), false_alerts=SAME_RATE, faces=1, templates=1).score
    return tally_strangers(vectors, load_space(pack.name).weigh(lengths), np.array([face.dataset_id for face in kept]),
                           pictures, one_person=same)  # fmt: skip


def make_record(strangers: Strangers, kept: list[UnmatchedFace], pack: Pack, space_id: str) -> dict[str, Any]:
    datasets = len({face.dataset_id for face in kept})
    return {
        "format": FORMAT,
        "origin": OWN,
        "pack": pack.name,
        "detector_sha256": pack.detector.sha256,
        "recogniser_sha256": pack.recogniser.sha256,
        "space": space_id,
        "method": "harvested faces of different datasets with one another, second look, in the space, f32",
        "measured": dt.datetime.now(dt.UTC).date().isoformat(),
        "data": {
            "name": f"harvested faces of {datasets} datasets",
            "people": len(kept),
            "images": len({face.sha256 for face in kept}),
            "selection": "the newest faces that are kept",
            "left_out": strangers.left_out,
            "caveat": "who these people are is not known: pairs that may be one person were left out, so the highest "
            "rates can only be too low",
        },
        "impostor": describe_counts(strangers.counts),
        "rates": write_rates(list_rates(strangers.tops, FEWEST_ERRORS)),
    }


def show(console: Screen, strangers: Strangers, kept: list[UnmatchedFace], record: dict[str, Any]) -> None:
    calibration = read_calibration(record)
    left_out = ", ".join(f"{count:,} of {name.replace('_', ' ')}" for name, count in strangers.left_out.items())
    console.print(f"{len(kept)} faces, {calibration.pairs:,} pairs; left out: {left_out}")
    grid = Grid("false match rate", "cut", "95 % of the rate", "")
    for exponent in range(3, 9):
        cut = derive_cut(calibration, false_alerts=10.0**-exponent, faces=1, templates=1)
        grid.add_row(f"1e-{exponent}", f"{cut.score:.3f}", f"{cut.interval[0]:.1e} to {cut.interval[1]:.1e}",
                     "" if cut.supported else "not supported")  # fmt: skip
    console.print(grid)
