"""A proposed card as TOML: in comes a proposal, out comes text with a mark on every line that a person decides."""

import re

from crawler.cards import NO_EXPRESSIONS
from crawler.propose.proposal import FIELDS, Proposal
from vault.letters import is_visible, show_text
from vault.log import clean_text

DECIDE = "DECIDE"
UNDECIDED_DATE = "2000-01-01"


def quote(text: str) -> str:
    """A TOML string on one line: literal where it can be, as selectors hold quotes."""
    if '"' in text and "'" not in text and all(map(is_visible, text)):
        return f"'{text}'"
    escaped = re.sub(r'["\\]', lambda match: "\\" + match[0], text)
    return '"' + "".join(letter if is_visible(letter) else write_escape(letter) for letter in escaped) + '"'


def write_escape(letter: str) -> str:
    """As TOML 1.0 has it. A person signs what they read: no letter turns the line round or hides in it."""
    number = ord(letter)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def quote_list(texts: tuple[str, ...]) -> str:
    if sum(map(len, texts)) < 80:
        return f"[{', '.join(map(quote, texts))}]"
    return "[\n" + "".join(f"  {quote(text)},\n" for text in texts) + "]"


def write_card(proposal: Proposal) -> str:
    """The card's text. As it stands it is refused: purpose, legal_basis, valid_until and robots are for a person."""
    card = proposal.card
    lines = [
        f"# Proposed from {show_text(clean_text(card.where.start[0], 200))}",
        f"# Lines marked {DECIDE} are a person's to fill in; the card is refused until then.",
        *(f"# note: {show_text(clean_text(note, 200))}" for note in proposal.notes),
        f"name = {quote(card.name)}",
        f"kind = {quote(card.kind)}",
        *([f"rendering = {quote(card.rendering)}"] if card.rendering == "browser" else []),
        "",
        "[why]",
        f'purpose = "{DECIDE}"  # {DECIDE}: why is this place watched, and for whom?',
        f'legal_basis = "{DECIDE}"  # {DECIDE}: what allows it?',
        f"valid_until = {UNDECIDED_DATE}  # {DECIDE}: until when is that approved?",
        f'robots = "{DECIDE}"  # {DECIDE}: "obey", or "ignore" with a robots_reason',
        "",
        "[where]",
    ]
    lines += [f"hosts = {quote_list(card.where.hosts)}", f"start = {quote_list(card.where.start)}"]
    lines.append(
        "# proxy = ...  only if needed: it resolves names, so inner addresses that it reaches cannot be refused"
    )
    if proposal.hosts:
        lines.append(f"# {DECIDE}: pictures or archives were seen there; keep what is meant")
        lines.append(f"image_hosts = {quote_list(proposal.hosts)}")
    if card.kind in NO_EXPRESSIONS:
        return "\n".join(lines) + "\n"
    lines += [
        "",
        "[read]",
        f"# pages: {show_text(proposal.paging or 'no link to a next page was found')}",
        f"follow = {quote_list(card.read.follow)}",
    ]
    if card.read.page_parameter:
        lines.append(f"page_parameter = {quote(card.read.page_parameter)}  # the pages of one listing are one")
    names = {"images": "image", "archives": "archive"}
    lines.append(f"listing = {quote(card.read.listing)}  # {proposal.listings} read from the pages looked at")
    if card.read.link:
        lines.append(f"link = {quote(card.read.link)}")
    for each in FIELDS:
        selector = getattr(card.read, names.get(each, each))
        share = f"{100 * proposal.shares[each]:.0f} % have it"
        if selector:
            lines.append(f"{names.get(each, each)} = {quote(selector)}  # {share}")
        else:
            lines.append(f"# {names.get(each, each)} = ...  not found")
    return "\n".join(lines) + "\n"
