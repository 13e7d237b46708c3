"""Letters that a terminal may be shown. In comes text, much of it from outside; out goes text of visible letters only.

Titles, addresses, headers, file names and error texts of servers may hold escape sequences (ECMA-48: a terminal would
move, colour, rename itself, fill the clipboard), direction overrides and letters without a shape. Each such letter is
shown by its number, as `evidence/verify.py` does.
"""

import json
import re
from typing import Any

# Shapeless letters that Unicode counts among the printable ones (Default_Ignorable_Code_Point of DerivedCoreProperties,
# less the variation selectors that emoji and ideographs need, U+FE00 to U+FE0F), and the blank braille cell
SHAPELESS = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\U000e0100-\U000e01ef]")
PLAIN = re.compile(r"[ -~]*")


def show_text(text: str) -> str:
    """One line: whatever is no visible letter is written as `\\x1b`, `\\u202e` or `\\U000e0041`; spaces of every width
    become a plain one."""
    if PLAIN.fullmatch(text):
        return text
    return "".join(letter if is_visible(letter) else hide_letter(letter) for letter in text)


def is_visible(letter: str) -> bool:
    """No control, format, surrogate, private or unassigned letter, of the spaces only U+0020 (`str.isprintable`)."""
    return letter.isprintable() and not SHAPELESS.match(letter)


def hide_letter(letter: str) -> str:
    number = ord(letter)
    if letter.isspace() and number not in range(0x09, 0x20) and letter not in "\x85\u2028\u2029":
        return " "  # no-break, ideographic and the like: category Zs
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def dump_json(value: Any, **options: Any) -> str:
    """JSON (RFC 8259) that reads as the same value and holds no letter that a terminal would obey or nobody would see;
    options are those of `json.dumps`."""
    text = json.dumps(value, ensure_ascii=False, **options)
    return text if PLAIN.fullmatch(text) else "".join(map(escape_letter, text))


def escape_letter(letter: str) -> str:
    if is_visible(letter) or letter in "\n\u00a0\u3000":  # JSON's own line breaks; spaces that texts are written with
        return letter
    number = ord(letter)
    if number < 0x10000:
        return f"\\u{number:04x}"
    return f"\\u{0xD800 + (number - 0x10000 >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"


def count_of(number: int, noun: str, plural: str = "") -> str:
    """`1 listing`, `1,200 listings`; `plural` where an s is not enough."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
