"""How much work the nesting of a page makes, as pure functions over a tree of lxml.

A selector looks through all that lies below each element it begins at, and a listing's text is all the
text below it: elements that lie in each other are looked through once for each of them.
"""

from collections.abc import Sequence
from typing import Any

from lxml import etree

# of an element and one that it lies in. Looking through all of them takes 42 ns a pair and selector
# (measured, libxml2 2.14), and a card has some ten selectors
MOST_PAIRS = 10_000_000
PAIRS_AN_ELEMENT = 64  # are allowed in any page: a long flat one is none too deep
DEEPEST = 2040  # libxml2 goes down to 2048 elements and drops what is deeper
NEAR = 64  # elements above one in which a listing is looked for before everything is measured
# in all listings of a page together, counted as often as a listing holds them
MOST_ELEMENTS = 400_000
MOST_LETTERS = 64_000_000


def measure_nesting(root: Any) -> tuple[int, int, int]:
    """(elements, pairs of an element and one that it lies in, elements in each other)."""
    elements = pairs = depth = deepest = 0
    for event, _element in etree.iterwalk(root, events=("start", "end")):
        if event == "end":
            depth -= 1
            continue
        elements += 1
        pairs += depth
        depth += 1
        deepest = max(deepest, depth)
    return elements, pairs, deepest


def is_tangled(elements: int, pairs: int) -> bool:
    """Would selectors take too long?"""
    return pairs > max(MOST_PAIRS, PAIRS_AN_ELEMENT * elements)


def count_readable(root: Any, listings: Sequence[Any]) -> int:
    """How many of these elements, which stand in document order, can be read before it is too much."""
    if not are_nested(listings):
        return len(listings)
    sizes = measure_elements(root, listings)
    elements = letters = 0
    for number, listing in enumerate(listings):
        elements += sizes[listing][0]
        letters += sizes[listing][1]
        if number and (elements > MOST_ELEMENTS or letters > MOST_LETTERS):
            return number
    return len(listings)


def are_nested(listings: Sequence[Any]) -> bool:
    """Does one lie in another? Where that is not seen soon: perhaps."""
    known = set(listings)
    for listing in listings:
        for number, above in enumerate(listing.iterancestors()):
            if above in known or number == NEAR:
                return True
    return False


def measure_elements(root: Any, listings: Sequence[Any]) -> dict[Any, tuple[int, int]]:
    """Of each the (elements, letters of text) in it."""
    known, begun, sizes = set(listings), [], {}
    elements = letters = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if event == "start":
            if element in known:
                begun.append((elements, letters))
            elements += 1
            letters += len(element.text or "")
            continue
        if element in known:
            first_element, first_letter = begun.pop()
            sizes[element] = (elements - first_element, letters - first_letter)
        letters += len(element.tail or "")
    return sizes
