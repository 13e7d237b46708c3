"""A small market that is empty without JavaScript: a script fetches the offers and draws them. Knows nothing of us.

    python spa.py --folder FOLDER --port PORT

FOLDER holds `catalog.json` ({"items": [{id, title, seller, price, images}]}) and `files/`.
"""

import json

from market import Market, run

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>FaceMart</title></head>
<body><div id="app"></div><script src="/app.js"></script></body></html>"""
SCRIPT = """
const make = (tag, name, text) => {
  const element = document.createElement(tag); element.className = name; element.textContent = text; return element;
};
fetch('/api/offers').then(answer => answer.json()).then(({items}) => {
  const app = document.getElementById('app');
  for (const item of items) {
    const card = make('article', 'offer', '');
    const link = make('a', 'permalink', item.title);
    link.href = '/offers/' + item.id;
    card.append(link, make('span', 'vendor', item.seller), make('span', 'cost', item.price));
    for (const name of item.images) {
      const picture = document.createElement('img'); picture.src = '/media/' + name; card.append(picture);
    }
    app.append(card);
  }
  document.body.append(make('p', 'ready', items.length + ' offers'));
});
"""


class Spa(Market):
    media = "media"

    def page(self, parts: list[str], query: dict[str, str]) -> str | None:
        if parts == [""]:
            return PAGE
        if parts == ["app.js"]:
            return SCRIPT
        return json.dumps(self.catalog) if parts == ["api", "offers"] else None


if __name__ == "__main__":
    run(Spa, "a small market that needs JavaScript")
