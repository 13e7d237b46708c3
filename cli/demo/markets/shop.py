"""A small shop, as such shops are: numbered pages, product pages, galleries, sample packs. Knows nothing of Facewarden.

    python shop.py --folder FOLDER --port PORT

FOLDER holds `catalog.json` ({"items": [{id, title, seller, price, text, images, archive}]}) and `files/`.
"""

from html import escape
from typing import Any

from market import Market, run

PER_PAGE = 6
PAGE = """<!doctype html><html lang="zh"><head><meta charset="utf-8"><title>{title}</title></head><body>
<header><a href="/">数据市场 · Data Bazaar</a></header><main>{body}</main><footer>© 2026</footer></body></html>"""


class Shop(Market):
    def page(self, parts: list[str], query: dict[str, str]) -> str | None:
        items = self.catalog["items"]
        if parts == [""]:
            return list_items(items, int(query.get("page", "1")))
        if len(parts) == 2 and parts[0] == "item":
            return next((show_item(item) for item in items if f"{item['id']}.html" == parts[1]), None)
        return None


def list_items(items: list[dict[str, Any]], number: int) -> str:
    start = (number - 1) * PER_PAGE
    rows = "".join(
        f'<li class="product"><a href="/item/{item["id"]}.html">{escape(item["title"])}</a>'
        f" <b>{escape(item['price'])}</b></li>"
        for item in items[start : start + PER_PAGE]
    )
    more = f'<a class="next" href="/?page={number + 1}">下一页</a>' if start + PER_PAGE < len(items) else ""
    return PAGE.format(title="数据市场", body=f'<ul class="products">{rows}</ul><nav>{more}</nav>')


def show_item(item: dict[str, Any]) -> str:
    pictures = "".join(f'<img src="/files/{name}" alt="样本" loading="lazy">' for name in item["images"])
    pack = f'<a class="pack" href="/files/{item["archive"]}">样本包 sample pack</a>' if item.get("archive") else ""
    body = f"""<article class="product-page"><h1>{escape(item["title"])}</h1>
<p class="shop">卖家 <a class="seller" href="#">{escape(item["seller"])}</a></p>
<p class="price">{escape(item["price"])}</p>
<div class="text">{escape(item["text"])}</div>
<div class="gallery">{pictures}</div>{pack}</article>"""
    return PAGE.format(title=escape(item["title"]), body=body)


if __name__ == "__main__":
    run(Shop, "a small shop")
