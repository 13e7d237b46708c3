"""How a source is: in come the figures of one cycle, out go a state, the reason, and the page that shows it.

Honest before tidy: a source that is blocked is never "nothing found". Pure; `vault/store/sources.py` counts.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from vault.letters import count_of

MANY = 0.5  # of the pages of a cycle: then it is the source that is so, not a page
SOME = 0.2
FIELD_MISSING = 0.5  # of the listings, in a field the card has a selector for
LEAST_LISTINGS = 3  # fewer say nothing about a layout


class Health(StrEnum):
    """States of a source; `paused` is a decision of a person and stands beside them."""

    NEW = "new"
    OK = "ok"
    DEGRADED = "degraded"
    BLOCKED = "blocked"
    CAPTCHA = "captcha"
    LOGIN_WALL = "login_wall"
    EMPTY = "empty"
    DEAD = "dead"


@dataclass(frozen=True, kw_only=True, slots=True)
class CycleFacts:
    """What one cycle met. `ended`: pages by how they ended (`ok`, an error code, or a verdict); `example`: a page of
    each; `missing`: listings seen in this cycle that lack a field; `before`: listings that were on offer before it."""

    ended: dict[str, int]
    starts: dict[str, int] = field(default_factory=dict)  # the same for the pages where a crawl starts
    example: dict[str, int] = field(default_factory=dict)
    listings: int = 0
    before: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    left_alone: int = 0  # links that were not followed, since they act


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceHealth:
    health: Health
    reason: str = ""
    page_id: int | None = None


LOGINS = ("login_wall", "http_401")
BLOCKS = ("blocked", "http_403", "http_429", "http_451", "http_503")
DEATHS = ("name_unknown", "unreachable", "upstream_unavailable", "fetch_timeout", "fetch_failed", "failed_browser",
          "http_404", "http_410", "http_500", "http_502", "http_504", "http_521", "http_522",
          "robots_unreachable", "address_refused")  # fmt: skip

READ_BADLY = ("page_too_complex", "page_unreadable", "not_a_page", "body_too_large", "soft_404")


def judge_source(facts: CycleFacts, fields: tuple[str, ...], expected_listings: int) -> SourceHealth:
    """`fields`: those the card has a selector for. `expected_listings`: the least that the card promises."""
    total = sum(facts.ended.values())
    if not total:
        return SourceHealth(health=Health.NEW, reason="no page has been fetched yet")
    for health, codes in (
        (Health.CAPTCHA, ("captcha",)),
        (Health.LOGIN_WALL, LOGINS),
        (Health.BLOCKED, BLOCKS),
        (Health.DEAD, DEATHS),
    ):
        share, code = measure_share(facts.ended, codes)
        if share >= MANY:
            return SourceHealth(
                health=health, reason=f"{code} at {share:.0%} of {total} pages", page_id=facts.example.get(code)
            )
        share, code = measure_share(facts.starts, codes)
        if share == 1:
            return SourceHealth(health=health, reason=f"{code} where the crawl starts", page_id=facts.example.get(code))
    if truncated := facts.ended.get("truncated", 0):
        reason = f"truncated: {truncated} of {total} documents end early; what came before was read"
        return SourceHealth(health=Health.DEGRADED, reason=reason, page_id=facts.example.get("truncated"))
    if not facts.listings and not facts.ended.get("layout_changed"):
        return judge_empty(facts, expected_listings)
    return judge_drift(facts, fields, expected_listings, total)


def judge_empty(facts: CycleFacts, expected: int) -> SourceHealth:
    """No listing in the whole cycle, and no sign of another layout."""
    reason = "no listing has been found yet"
    if facts.before or expected:
        had = f"{facts.before} were on offer before" if facts.before else f"the card expects {expected}"
        reason = f"no listing; {had}"
    if facts.left_alone:
        reason += f"; left alone, since they act: {count_of(facts.left_alone, 'link')}"
    return SourceHealth(health=Health.EMPTY, reason=reason, page_id=first_example(facts))


def judge_drift(facts: CycleFacts, fields: tuple[str, ...], expected: int, total: int) -> SourceHealth:
    """Content came; is it what it should be?"""
    if facts.starts and set(facts.starts) == {"empty"}:
        return SourceHealth(health=Health.EMPTY, reason="the start pages list nothing", page_id=first_example(facts))
    drifted = facts.ended.get("layout_changed", 0)
    if drifted:
        reason = f"layout drift: {drifted} of {total} pages lost the listings they had"
        return SourceHealth(health=Health.DEGRADED, reason=reason, page_id=facts.example.get("layout_changed"))
    for name in fields if facts.listings >= LEAST_LISTINGS else ():
        share = facts.missing.get(name, 0) / facts.listings
        if share >= FIELD_MISSING:
            return SourceHealth(health=Health.DEGRADED, reason=f"layout drift: {name} missing in {share:.0%}")
    if facts.listings < expected:
        return SourceHealth(
            health=Health.DEGRADED, reason=f"{facts.listings} listings, the card expects {expected} or more"
        )
    for codes in (("captcha",), LOGINS, BLOCKS, DEATHS, READ_BADLY):
        share, code = measure_share(facts.ended, codes)
        if share >= SOME:
            reason = f"{code} at {share:.0%} of {total} pages"
            return SourceHealth(health=Health.DEGRADED, reason=reason, page_id=facts.example.get(code))
    return SourceHealth(health=Health.OK)


def measure_share(ended: dict[str, int], codes: tuple[str, ...]) -> tuple[float, str]:
    """The share of pages that ended in one of the codes, and the commonest of them."""
    commonest = max(codes, key=lambda code: ended.get(code, 0))
    return sum(ended.get(code, 0) for code in codes) / max(1, sum(ended.values())), commonest


def first_example(facts: CycleFacts) -> int | None:
    return facts.example.get("empty") or facts.example.get("ok")
