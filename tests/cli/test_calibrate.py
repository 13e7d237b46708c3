"""`calibrate`: the operator's own record, measured on faces that are kept, used until they go back."""

import argparse
from dataclasses import replace

import numpy as np
import pytest

from cli.commands import calibrate
from matcher.calibration import load_calibration, prefer_own, read_calibration
from tests.samples import add_sample, make_listing, png
from vault.errors import CalibrationError
from vault.store.alerts import get_own_calibration
from workers.context import Context


def ask(context: Context, **chosen: bool) -> int:
    return calibrate.run(argparse.Namespace(**{"keep": False, "shipped": False, **chosen}), context.settings)


def keep_faces(context: Context, datasets: int, each: int) -> None:
    """Strangers as they are kept of retro sources: random vectors, some forty to a picture."""
    chance = np.random.default_rng(1)
    for number in range(datasets):
        listing_id = make_listing(context.conn, f"listing {number}")
        add_sample(context, listing_id, png(64 + number, 64))
        rows = chance.standard_normal((each, 128)).astype(np.float32)
        keyed = context.keys.protect_templates(rows / np.linalg.norm(rows, axis=1, keepdims=True))
        for ordinal, vector in enumerate(keyed):
            context.conn.execute(
                """insert into face (sample_id, ordinal, x, y, width, height, landmarks, score, sharpness, pack,
                                     matrix_id, template, outcome, state, length)
                   select max(sample_id), %(ordinal)s, 0, 0, 9, 9, '{}', 1, 1, 'opencv-zoo', %(matrix)s, %(template)s,
                          'unmatched', 'done', 12 from sample""",
                {"ordinal": ordinal, "matrix": context.keys.matrix_id(128),
                 "template": vector.astype("<f4").tobytes()},
            )  # fmt: skip


def test_too_few_faces_are_no_calibration(context: Context) -> None:
    with pytest.raises(CalibrationError) as caught:
        ask(context, keep=True)
    assert "retro" in caught.value.mend


def test_an_own_record_is_kept_used_and_forgotten(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    keep_faces(context, 4, 260)
    assert ask(context) == 0
    assert get_own_calibration(context.conn, "opencv-zoo") is None
    assert ask(context, keep=True) == 0
    assert "1040 faces" in capsys.readouterr().out
    own = get_own_calibration(context.conn, "opencv-zoo")
    assert own is not None
    assert "template" not in str(own)
    assert own["impostor"]["pairs"] <= 1040 * 780
    assert context.calibration.calibration_id == read_calibration(own).calibration_id
    ask(context, shipped=True)
    assert get_own_calibration(context.conn, "opencv-zoo") is None


def test_an_own_record_of_another_space_is_not_used() -> None:
    shipped = load_calibration("opencv-zoo")
    assert prefer_own(shipped, None) is shipped
    assert prefer_own(shipped, dict(shipped.record) | {"space": "other"}) is shipped
    assert prefer_own(replace(shipped), dict(shipped.record)).calibration_id == shipped.calibration_id
