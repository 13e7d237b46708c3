"""robots.txt made to take long, and the group that is for us."""

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from protego import Protego

from crawler.robots import MOST_BYTES, USER_AGENT, pick_group, read_robots

HALF = MOST_BYTES // 2 // 20
BOMBS = {
    "stars": "User-agent: *\nDisallow: /" + "*a" * 2000 + "*b$",
    "one rule of stars": "User-agent: *\nDisallow: /" + "*a" * (MOST_BYTES // 2),
    "rules of stars": "User-agent: *\n" + "Disallow: /*a*a*b\n" * (MOST_BYTES // 18),
    "agents times rules": "".join(f"User-agent: a{n}\n" for n in range(HALF)) + "Disallow: /x\n" * HALF,
    "fewer agents times rules": "".join(f"User-agent: a{n}\n" for n in range(3000)) + "Disallow: /x\n" * 3000,
    "agents twice": "".join(f"User-agent: a{n}\n" for n in range(HALF)) * 2,
    "parts of our name": "".join(f"User-agent: {USER_AGENT[13:n]}\n" for n in range(14, 41))
    + "Disallow: /x\n" * 2 * HALF,
    "dollars": "User-agent: *\nDisallow: /" + "$" * MOST_BYTES,
    "escapes": "User-agent: *\nDisallow: /" + "%41" * (MOST_BYTES // 3),
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_robots_txt_made_to_take_long_is_read_and_asked_within_limits(text: str) -> None:
    began = time.thread_time()
    rules = read_robots(200, text.encode())
    for _ in range(3):
        rules.can_fetch("http://a.example/" + "a" * 2000, USER_AGENT)
    assert time.thread_time() - began < 5
    tracemalloc.start()
    read_robots(200, text[: MOST_BYTES // 4].encode())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 << 20


LINES = st.sampled_from(
    ["User-agent: *", "user-agent:facewarden", "User-Agent: Facewarden/0.1", "User agent face*", "useragent: other",
     "User-agent: Mozilla", "User-agent:", "Disallow: /", "Disallow: /a", "Allow: /a/b", "Disallow: /*b$", "Disallow:",
     "# User-agent: *", "Sitemap: /x", "Crawl-delay: 5", "", "useragentx: y", "User-agent: * # all"]
)  # fmt: skip


@hypothesis_settings(deadline=None)
@given(st.lists(LINES, max_size=12), st.sampled_from(["/", "/a", "/a/b", "/a/bb", "/x"]))
def test_the_group_that_is_for_us_says_what_the_whole_file_does(lines: list[str], path: str) -> None:
    text, url = "\n".join(lines), f"http://a.example{path}"
    whole, picked = Protego.parse(text), Protego.parse(pick_group(text))
    assert picked.can_fetch(url, USER_AGENT) == whole.can_fetch(url, USER_AGENT)
