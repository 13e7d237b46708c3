"""What is taken in: portraits that ship with installed packages, as sellers change them, and drawn pictures. The same
seed makes the same bytes, so that two runs over them can be compared."""

import itertools
import random
from pathlib import Path

from cli.demo.people import VARIANTS, Person, draw_nobody, list_people
from crawler.approval import DemoApprovers

LISTINGS = 12
SHARE = 0.4  # of the pictures show a person
CARD = """name = "{name}"
kind = "folder"
[why]
purpose = "See what becomes of pictures while something fails"
legal_basis = "Made by the bench: drawn pictures, portraits of installed packages"
valid_until = 2099-12-31
"""
PEOPLE = list_people()
ENROLLED = tuple(person for person in PEOPLE if person.enrols)
STRANGER, LEAVER = (person for person in PEOPLE if not person.enrols)  # the second is in no picture
SHOWN_PEOPLE = (*ENROLLED, STRANGER)


def show_person(person: Person, number: int) -> bytes:
    """Another picture of the person for every number, of the same bytes each time."""
    chance = random.Random(f"{person.name}:{number}")
    dx, dy = (round(side * chance.uniform(0, 0.05)) for side in person.portrait.size)
    cut = person.portrait.crop((dx, dy, person.portrait.width - dx, person.portrait.height - dy))
    scale = chance.uniform(0.9, 1.3)
    cut = cut.resize((round(cut.width * scale), round(cut.height * scale)))
    return VARIANTS[number % len(VARIANTS)](cut)


def write_material(folder: Path, pictures: int, seed: int = 0) -> Path:
    """A folder with one folder a listing. Each of the people shown is in two of them, so that nobody is flooded."""
    people = itertools.cycle(SHOWN_PEOPLE)
    chance = random.Random(seed)
    for number in range(pictures):
        person = next(people)
        listing = number % LISTINGS
        if chance.random() < SHARE:
            data = show_person(person, seed * 100_000 + number)
            listing = SHOWN_PEOPLE.index(person) + len(SHOWN_PEOPLE) * (number // len(SHOWN_PEOPLE) % 2)
        else:
            data = draw_nobody(seed * 100_000 + number)
        path = folder / f"offer-{listing:02}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_card(approvers: DemoApprovers, card: Path, name: str) -> Path:
    """A card for handed-in material, signed as a demo's deployment wants it."""
    card.write_text(approvers.sign(CARD.format(name=name)), encoding="utf-8")
    return card
