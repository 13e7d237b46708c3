"""README's figures: each stands between marks, and a run renews what it measured and nothing else."""

import pytest

from bench.figures import (
    EXAMPLE,
    README,
    TABLE,
    Row,
    main,
    read_marked,
    renew_table,
    replace_marked,
    tell_range,
    write_example,
)

OLD = "\n| command | what came of it | commit, day |\n|---|---|---|\n| `a` | 1 | old |\n| `b` (x) | 2 | old |\n\n"
FIGURES = {
    "pages": 22, "listings": 21, "samples": 130, "faces": 38, "refused": {"archive_name_unsafe": 3}, "cut": 0.40123,
    "expected_alerts": 18, "found_alerts": 18, "false_alerts": 0, "calibration": "c", "seconds": 12.34,
    "bundle_verified": True,
}  # fmt: skip


def test_the_marks_are_in_the_readme() -> None:
    assert main(["--check"]) == 0
    text = README.read_text(encoding="utf-8")
    assert read_marked(text, TABLE).count("\n| `") >= 5
    assert "alerts expected / found / false" in read_marked(text, EXAMPLE)


def test_a_measured_row_is_renewed_and_the_others_stay() -> None:
    made = renew_table(OLD, [Row(command="`b` (x)", text="3"), Row(command="`c`", text="4")], "new")
    assert [line for line in made.splitlines() if line.startswith("| `")] == [
        "| `a` | 1 | old |", "| `b` (x) | 3 | new |", "| `c` | 4 | new |"]  # fmt: skip
    assert renew_table(made, [], "newer") == made


def test_what_stands_between_the_marks_is_replaced_once_and_nothing_around_it() -> None:
    text = "a\n<!-- figures: x -->\nold\n<!-- end -->\nb\n<!-- demo: y -->\nkept\n<!-- end -->\n"
    made = replace_marked(text, TABLE, "new\n")
    assert made == text.replace("old", "new")
    for wrong in (text.replace("figures", "other"), text + text):
        with pytest.raises(ValueError, match="no mark"):
            replace_marked(wrong, TABLE, "new\n")


def test_the_example_is_what_the_demo_prints() -> None:
    lines = write_example(FIGURES).splitlines()
    assert "    alerts expected / found / false   18 / 18 / 0" in lines
    assert "    cut                               0.401 from c" in lines
    assert "    refused: image_too_large          0" in lines


@pytest.mark.parametrize(("values", "shown"), [([1, 1], "1"), ([3, 1, 2], "1 to 3"), ([0.4, 0.2], "0")])
def test_a_range_that_is_none_is_one_number(values: list[float], shown: str) -> None:
    assert tell_range(values, 0) == shown
