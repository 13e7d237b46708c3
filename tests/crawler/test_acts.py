"""A crawl reads and never acts: which links are followed, which are not, under any card."""

from pathlib import Path

import pytest

from crawler.acts import ActKind, find_act

LINES = (Path(__file__).parent / "tables/links.txt").read_text(encoding="utf-8").splitlines()
LINKS = [tuple(line.split(" ", 1)) for line in LINES if line and not line.startswith("#")]


def judge(url: str, *, chosen: bool = False) -> str:
    found = find_act(url, chosen=chosen)
    return "read" if found is None else "act" if found.kind is ActKind.ACTION else "token"


@pytest.mark.parametrize(("verdict", "path"), LINKS)
def test_a_link_of_a_board_or_a_shop_is_followed_or_left_alone(verdict: str, path: str) -> None:
    url = f"http://a.example{path}"
    if verdict in ("file", "never"):
        assert judge(url, chosen=True) == {"file": "read", "never": "act"}[verdict]
    else:
        assert judge(url) == verdict, find_act(url)


def test_the_table_of_links_is_long_and_goes_both_ways() -> None:
    counts = {verdict: sum(each == verdict for each, _ in LINKS) for verdict in ("read", "act", "token", "file")}
    assert sum(counts.values()) > 300
    assert min(counts["read"], counts["act"]) > 100
    assert len({path for _, path in LINKS}) == len(LINKS)
