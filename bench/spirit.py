"""A forum: django-spirit, with threads, answers and uploaded pictures, all made through its own views.

    .venv/bin/python -m bench.spirit
    .venv/bin/python -m bench.spirit --things 200 --images 3 --json bench/out/spirit.json

`spirit.lock` is made by
    uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header spirit.in
with `django-spirit==0.14.3` in spirit.in.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.programs import Program, main

LOCAL_SETTINGS = """
from .dev import *
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
ST_RATELIMIT_ENABLE = False
ST_SITE_URL = "http://127.0.0.1:{port}/"
HAYSTACK_SIGNAL_PROCESSOR = "haystack.signals.BaseSignalProcessor"
"""
SEED = r"""
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.test import Client
from spirit.category.models import Category
from spirit.topic.models import Topic

Category.objects.get_or_create(title="Datasets", defaults={"description": "offers"})
categories = list(Category.objects.filter(is_private=False, is_removed=False).exclude(pk=1))
clients = []
for number in range(6):
    user = get_user_model().objects.create_user(f"seller{number}", f"s{number}@example.org", "x")
    if number % 2:
        user.st.avatar.save("pic.jpg", ContentFile(draw(f"avatar{number}")))
    client = Client()
    client.force_login(user)
    clients.append(client)

def upload(client, number):
    data = draw(number)
    file = io.BytesIO(data)
    file.name = f"sample{number}.jpg"
    answer = client.post("/comment/upload/", {"image": file}, HTTP_X_REQUESTED_WITH="XMLHttpRequest")
    digests.append(hashlib.sha256(data).hexdigest())
    return f"![sample {number}]({answer.json()['url']})"

titles, digests, sellers = [], [], []
for number in range(number_of_things):
    client, seller = clients[number % 6], f"seller{number % 6}"
    kind = draw_lots.choice(("Selfies", "KYC set", "Faces", "Liveness frames"))
    title = f"{kind} {draw_lots.randrange(2, 90) * 100} pcs, lot {number}"
    pictures = [upload(client, number * per_thing + each) for each in range(per_thing)]
    first = pictures[: max(1, per_thing - 1)] if number % 4 else []
    text = f"Fresh set number {number}, price on request.\n\n" + " ".join(first)
    category = categories[number % len(categories)].pk
    answer = client.post("/topic/publish/", {"title": title, "comment": text, "category": category})
    assert answer.status_code == 302, answer.content[-3000:]
    topic = Topic.objects.get(title=title)
    late = pictures[len(first):]
    answers = 24 if number % 10 == 5 else 1 + number % 3
    for each in range(answers):
        last = each == answers - 1
        text = f"Answer {each} to {number}: still there? " + (" ".join(late) if last else "thanks")
        answer = clients[(number + each + 1) % 6].post(f"/comment/{topic.pk}/publish/", {"comment": text})
        assert answer.status_code == 302, answer.content[-3000:]
    titles.append(title)
    sellers.append(seller)
with open(out, "w") as file:
    json.dump({"titles": titles, "digests": digests, "sellers": sellers}, file)
"""


def make_forum(python: Path, project: Path, port: int) -> None:
    environ = FORUM.environ(python, project)
    start = {name: environ[name] for name in environ if name != "DJANGO_SETTINGS_MODULE"}  # there are none yet
    subprocess.run([str(python.parent / "spirit"), "startproject", project.name], cwd=project.parent, env=start,
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    (project / "forum/settings/local.py").write_text(LOCAL_SETTINGS.format(port=port), encoding="utf-8")
    subprocess.run([str(python), "manage.py", "spiritinstall"], cwd=project, env=environ, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


def compare(truth: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
    titles, digests = set(truth["titles"]), set(truth["digests"])
    sellers = dict(zip(truth["titles"], truth["sellers"], strict=True))
    found = {title for _, _, title, *_ in rows["listings"]}
    whole = [row for row in rows["listings"] if "page=" not in row[1]]
    return {
        "threads": len(titles),
        "threads_found": len(titles & found),
        "threads_missed": sorted(titles - found)[:10],
        "listings": len(rows["listings"]),
        "listings_of_first_pages": len(whole),
        "listings_that_are_no_thread": sorted(found - titles)[:10],
        "sellers_right": sum(sellers.get(title) == seller for _, _, title, seller, *_ in whole),
        "described": sum(bool(description) for _, _, _, _, description, *_ in whole),
        "images": len(digests),
        "images_found": len(digests & rows["digests"]),
        "images_extra": len(rows["digests"] - digests),
    }


FORUM = Program(
    name="spirit",
    project="forum",
    lock=Path(__file__).with_name("spirit.lock"),
    settings="forum.settings.local",
    seed=SEED,
    make_project=make_forum,
    compare=compare,
    is_whole=lambda table: (
        table["threads_found"] == table["threads"] == table["listings"]  # a thread of several pages is one listing
        and table["images_found"] == table["images"]
    ),
)

if __name__ == "__main__":
    sys.exit(main(FORUM, __doc__))
