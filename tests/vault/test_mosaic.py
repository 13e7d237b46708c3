"""The mosaic must take the face away: measured with the very model that could recognise it."""

import io

import numpy as np
import pytest
from PIL import Image

from cli.demo.people import T1_FACES, open_t1, save_jpeg
from tests.samples import ENROLLED, STRANGERS
from vault.box import Box
from workers.faces.engine import Engine

REFERENCE = 0.363  # the cosine above which OpenCV Zoo calls two SFace vectors the same person


def embed_whole(engine: Engine, picture: Image.Image) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The vector of a whole crop, without asking a detector whether it sees a face."""
    square = picture.convert("RGB").resize((112, 112))
    vectors = engine.embed_crops([np.ascontiguousarray(np.asarray(square)[:, :, ::-1])])
    return np.asarray(vectors[0], np.float32)


def test_a_mosaic_names_nobody(engine: Engine) -> None:
    """The faces of `t1`, as shown in the dashboard, compared with the same crops unblurred: none may be nearest to its
    own person by more than chance, and none reaches the score of a match."""
    source = save_jpeg(open_t1(), 95)
    plain, shown = [], []
    with Box() as box, box.batch() as child:
        for x, y, width, height in T1_FACES:
            png = child.make_mosaic(source, (x, y, width, height))
            shown.append(embed_whole(engine, Image.open(io.BytesIO(png))))
            reach = 0.6 * max(width, height)
            centre = (x + width / 2, y + height / 2)
            box_ = (centre[0] - reach, centre[1] - reach, centre[0] + reach, centre[1] + reach)
            plain.append(embed_whole(engine, open_t1().crop(tuple(round(v) for v in box_))))  # type: ignore[arg-type]
    scores = np.stack(shown) @ np.stack(plain).T
    named = (scores.argmax(axis=1) == np.arange(len(scores))).sum()
    assert named <= 3, f"{named} of {len(scores)} still nearest to themselves"  # 1 of 6 by chance
    assert np.diag(scores).max() < REFERENCE, np.diag(scores)


def test_the_detector_sees_no_face_in_a_mosaic(engine: Engine) -> None:
    with Box() as box, box.batch() as child:
        for person in (*ENROLLED, *STRANGERS):
            data = save_jpeg(person.portrait, 95)
            faces = engine.find_faces(child.open_picture(data).pixels)
            png = child.make_mosaic(data, faces[0].box)
            assert engine.find_faces(child.open_picture(png).pixels) == []


def test_nothing_finer_than_six_by_six_blocks_comes_out() -> None:
    """Two pictures with the same average in each of 6 x 6 blocks, otherwise as different as can be, look the same."""
    chance = np.random.default_rng(1)
    levels = chance.integers(60, 190, (6, 6, 1, 1, 3))
    noise = chance.integers(-50, 51, (6, 6, 10, 20, 3))
    blocks = np.concatenate([levels + noise, levels - noise], axis=2)  # each 20 x 20 block averages to its level
    other = np.broadcast_to(levels, blocks.shape)
    shown = []
    with Box() as box, box.batch() as child:
        for each in (blocks, other):
            pixels = each.transpose(0, 2, 1, 3, 4).reshape(120, 120, 3).astype(np.uint8)
            source = io.BytesIO()
            Image.fromarray(pixels).save(source, "PNG")
            png = child.make_mosaic(source.getvalue(), (10, 10, 100, 100), side=192)  # the crop is the whole picture
            shown.append(np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), int))
    assert shown[0].shape == (192, 192, 3)
    assert np.abs(shown[0] - shown[1]).max() <= 2


@pytest.mark.parametrize("box_", [(-30, -30, 100, 100), (100, 100, 500, 500), (0, 0, 1, 1), (30, 0, 5, 200)])
def test_a_crop_at_the_edge_is_a_mosaic_too(box_: tuple[float, float, float, float]) -> None:
    with Box() as box, box.batch() as child:
        png = child.make_mosaic(save_jpeg(open_t1().resize((220, 180)), 90), box_, side=192)
    assert max(Image.open(io.BytesIO(png)).size) == 192


def test_a_box_outside_the_picture_is_refused() -> None:
    from vault.errors import InputRefused

    with Box() as box, box.batch() as child, pytest.raises(InputRefused):
        child.make_mosaic(save_jpeg(Image.new("RGB", (50, 50)), 90), (500, 500, 10, 10))
