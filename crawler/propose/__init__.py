"""Proposing a source card: in come a place's first pages, out comes a card that lacks only a person's decisions.

pages = [fetch(url)]
while (wants := propose_card(pages).wants) and len(pages) < MOST_PAGES: pages += map(fetch, wants)
print(write_card(propose_card(pages)))
"""

from crawler.propose.proposal import MOST_PAGES, Proposal, Survey, propose_card, survey_page
from crawler.propose.toml import write_card
from crawler.propose.tree import SavedPage

__all__ = ["MOST_PAGES", "Proposal", "SavedPage", "Survey", "propose_card", "survey_page", "write_card"]
