"""A small forum, as such forums are: a board of threads, posts with attached archives. Knows nothing of Facewarden.

    python forum.py --folder FOLDER --port PORT

FOLDER holds `catalog.json` ({"items": [{id, title, posts: [{seller, text, images, archive}]}]}) and `files/`.
"""

from html import escape
from typing import Any

from market import Market, run

PER_PAGE = 5
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} - DarkLeaks Board</title></head>
<body><div id="top"><a href="/board/faces">DarkLeaks :: Faces &amp; KYC</a></div>{body}</body></html>"""


class Forum(Market):
    media = "attachment"

    def page(self, parts: list[str], query: dict[str, str]) -> str | None:
        threads = self.catalog["items"]
        if parts == ["board", "faces"]:
            return list_threads(threads, int(query.get("p", "0")))
        if len(parts) == 2 and parts[0] == "thread":
            return next((show_thread(thread) for thread in threads if str(thread["id"]) == parts[1]), None)
        return None


def list_threads(threads: list[dict[str, Any]], number: int) -> str:
    start = number * PER_PAGE
    rows = "".join(
        f'<tr><td><a class="topic" href="/thread/{thread["id"]}">{escape(thread["title"])}</a></td>'
        f"<td>{len(thread['posts'])} posts</td></tr>"
        for thread in threads[start : start + PER_PAGE]
    )
    more = f'<a rel="next" href="/board/faces?p={number + 1}">older</a>' if start + PER_PAGE < len(threads) else ""
    return PAGE.format(title="Faces", body=f'<table class="board">{rows}</table><p class="pages">{more}</p>')


def show_thread(thread: dict[str, Any]) -> str:
    posts = "".join(map(show_post, thread["posts"]))
    title = escape(thread["title"])
    return PAGE.format(title=title, body=f'<section class="thread"><h1 class="subject">{title}</h1>{posts}</section>')


def show_post(post: dict[str, Any]) -> str:
    pictures = "".join(f'<img class="inline" src="/attachment/{name}">' for name in post["images"])
    pack = post.get("archive")
    link = f'<a class="attachment" href="/attachment/{pack}">{pack}</a>' if pack else ""
    return (
        f'<div class="post"><b class="author">{escape(post["seller"])}</b>'
        f'<p class="said">{escape(post["text"])}</p>{pictures}{link}</div>'
    )


if __name__ == "__main__":
    run(Forum, "a small forum")
