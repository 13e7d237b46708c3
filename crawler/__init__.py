"""Brings the outside in: markets that a card allows become pages, listings, samples and captures."""
