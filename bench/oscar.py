"""A shop: django-oscar, with products, pictures, prices, categories and reviews, made through its own models.

    .venv/bin/python -m bench.oscar --things 60 --images 3 --json bench/out/oscar.json

Visitors see smaller copies of a picture only (440 x 400 and less), so a picture counts as found when its largest copy
is. `oscar.lock` is made as `spirit.lock` is, with `django-oscar[sorl-thumbnail]==4.2.1` and `whoosh` in oscar.in.

2026-11-24, 60 products, with a crawler that had never seen this shop (710ec0c). First run: 59 products and 152 of 155
pictures, for the shop's SQLite locked itself and answered half of all page requests with 500. With that mended here: 60
products, 155 of 155 pictures, 57 of 57 prices, no seller invented (visitors see none). Missed: 0 of 56 descriptions, of
which 45 were a line of a review; 150 smaller copies were kept as pictures. Then the proposer learnt of texts below
a heading, of reviews and of rows of small copies: 56 of 56 descriptions, no small copy, the rest as before.
"""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.programs import Program, main

SETTINGS = """
from pathlib import Path
from oscar import INSTALLED_APPS
from oscar.defaults import *

BASE = Path(__file__).parent
SECRET_KEY, DEBUG, ALLOWED_HOSTS, USE_TZ = "of a bench", True, ["127.0.0.1", "testserver"], True
ROOT_URLCONF, SITE_ID, STATIC_URL, MEDIA_URL, MEDIA_ROOT = "shop_urls", 1, "/static/", "/media/", BASE / "media"
INSTALLED_APPS = [*INSTALLED_APPS, "sorl.thumbnail"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "oscar.apps.basket.middleware.BasketMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {
    "context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.template.context_processors.i18n",
        "django.contrib.messages.context_processors.messages",
        "oscar.apps.search.context_processors.search_form",
        "oscar.apps.checkout.context_processors.checkout",
        "oscar.apps.communication.notifications.context_processors.notifications",
        "oscar.core.context_processors.metadata",
    ]}}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE / "shop.sqlite",
                         "OPTIONS": {"timeout": 60, "transaction_mode": "IMMEDIATE"}, "ATOMIC_REQUESTS": True}}
HAYSTACK_CONNECTIONS = {"default": {"ENGINE": "haystack.backends.whoosh_backend.WhooshEngine",
                                    "PATH": str(BASE / "index")}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
OSCAR_SHOP_NAME, OSCAR_DEFAULT_CURRENCY = "Depot", "GBP"
"""
URLS = """
from django.apps import apps
from django.conf import settings
from django.conf.urls.static import static
from django.urls import include, path

urlpatterns = [
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include(apps.get_app_config("oscar").urls[0])),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]
"""
MANAGE = (
    "import sys\nfrom django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)\n"
)
SEED = r"""
import re
from decimal import Decimal
from pathlib import Path
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from django.core.management import call_command
from oscar.apps.catalogue.categories import create_from_breadcrumbs
from oscar.apps.catalogue.models import Product, ProductAttribute, ProductCategory, ProductClass, ProductImage
from oscar.apps.catalogue.reviews.models import ProductReview
from oscar.apps.partner.models import Partner, StockRecord
from oscar.core.thumbnails import get_thumbnailer
from django.conf import settings

settings.MEDIA_ROOT.mkdir(exist_ok=True)
missing = Image.new("RGB", (120, 120), (230, 230, 230))
missing.save(settings.MEDIA_ROOT / settings.OSCAR_MISSING_IMAGE_URL)
kind = ProductClass.objects.create(name="Archive", track_stock=True, requires_shipping=False)
for name, code in (("Format", "format"), ("Country", "country")):
    ProductAttribute.objects.create(product_class=kind, name=name, code=code, type="text")
partners = [Partner.objects.create(name=f"Supplier {number}") for number in range(3)]
categories = [create_from_breadcrumbs(each) for each in
              ("Faces > Selfies", "Faces > Frames", "Documents > Cards", "Documents > Passports")]
people = [get_user_model().objects.create_user(f"buyer{number}", f"b{number}@example.org", "x") for number in range(5)]
SUBJECTS = ("Selfies of {count} adults, daylight", "KYC set {count} persons", "{count} faces from one campus",
            "Liveness frames, blink and nod, {count} pcs", "Card in hand, {count} pictures")
TEXTS = ("<p>Collected in {year}. Sorted by person, name and number in the file.</p><p>No escrow below ten.</p>",
         "{count} pictures, none sold before {year}. Ask for the list of cities.",
         "<ul><li>JPEG</li><li>{count} pieces</li></ul><p>Password in the mail after payment.</p>")
products, pictures = [], []
for number in range(number_of_things):
    count = draw_lots.randrange(2, 90) * 100
    title = draw_lots.choice(SUBJECTS).format(count=count) + f", lot {number}"
    text = draw_lots.choice(TEXTS).format(count=count, year=2020 + number % 6)
    product = Product(product_class=kind, title=title, upc=f"D{number:05}")
    product.description = "" if number % 15 == 7 else text
    product.attr.format = draw_lots.choice(("zip", "7z"))
    product.attr.country = draw_lots.choice(("GB", "ES", "IN"))
    product.save()
    ProductCategory.objects.create(product=product, category=categories[number % 4])
    price = None
    if number % 20 != 19:
        price = Decimal(draw_lots.randrange(500, 400000)) / 100
        StockRecord.objects.create(product=product, partner=partners[number % 3], partner_sku=f"S{number}", price=price,
                                   num_in_stock=0 if number % 9 == 8 else 5)
    images = 0 if number % 12 == 11 else 1 if number % 12 == 10 else per_thing
    for each in range(images):
        data = draw(number * per_thing + each)
        image = ProductImage(product=product, display_order=each)
        image.original.save(f"picture{number}-{each}.jpg", ContentFile(data))
        image.save()
        copies = [get_thumbnailer().generate_thumbnail(image.original, size=size, **options) for size, options in
                  (("440x400", {"upscale": False}), ("x155", {"upscale": False}), ("65x55", {"crop": "center"}))]
        pictures.append([hashlib.sha256(copy.read()).hexdigest() for copy in copies])
    for each in range(number % 4):
        ProductReview.objects.create(product=product, user=people[(number + each) % 5], score=1 + (number + each) % 5,
                                     title=f"Good {each}", body=f"Bought {each + 2} times, fast.", status=1)
    text = re.sub("<[^>]*>", " ", product.description)
    products.append({"title": title, "price": price and str(price), "text": text})
call_command("rebuild_index", interactive=False, verbosity=0)
with open(out, "w") as file:
    json.dump({"products": products, "pictures": pictures}, file)
"""


def make_shop(python: Path, project: Path, port: int) -> None:
    project.mkdir()
    for name, text in (("shop_settings.py", SETTINGS), ("shop_urls.py", URLS), ("manage.py", MANAGE)):
        (project / name).write_text(text, encoding="utf-8")
    command = [str(python), "manage.py", "migrate", "--verbosity=0"]
    subprocess.run(command, cwd=project, env=SHOP.environ(python, project), check=True, stdout=subprocess.DEVNULL)


def holds(description: str, text: str) -> bool:
    return bool(text) and " ".join(text.split()) in " ".join(description.split())


def compare(truth: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
    products = {each["title"]: each for each in truth["products"]}
    listings = {row[2]: row for row in rows["listings"]}
    found = products.keys() & listings.keys()
    priced = [title for title in found if products[title]["price"]]
    large = [copies[0] for copies in truth["pictures"]]
    copies = {digest for copies in truth["pictures"] for digest in copies}
    return {
        "products": len(products),
        "products_found": len(found),
        "products_missed": sorted(products.keys() - found)[:10],
        "listings": len(rows["listings"]),
        "listings_that_are_no_product": sorted(listings.keys() - found)[:10],
        "priced": len(priced),
        "prices_right": sum(listings[each][5:7] == (Decimal(products[each]["price"]), "GBP") for each in priced),
        "prices_invented": sum(listings[each][5] is not None for each in found if not products[each]["price"]),
        "sellers_invented": sum(bool(listings[each][3]) for each in found),  # the shop shows none
        "described": sum(bool(products[each]["text"]) for each in found),
        "descriptions_right": sum(holds(listings[each][4], products[each]["text"]) for each in found),
        "descriptions_wrong": sum(
            bool(listings[each][4]) and not holds(listings[each][4], products[each]["text"]) for each in found
        ),
        "images": len(large),
        "images_found": len(set(large) & rows["digests"]),
        "smaller_copies_kept": len((copies - set(large)) & rows["digests"]),
        "images_extra": len(rows["digests"] - copies),
    }


SHOP = Program(
    name="oscar",
    project="shop",
    lock=Path(__file__).with_name("oscar.lock"),
    settings="shop_settings",
    seed=SEED,
    make_project=make_shop,
    compare=compare,
    is_whole=lambda table: table["products_found"] == table["products"] and table["images_found"] == table["images"],
)

if __name__ == "__main__":
    sys.exit(main(SHOP, __doc__))
