"""Measurements. Each prints a table and, with --json, writes the same figures; none is a timed test."""

import vault  # noqa: F401  libraries are silenced before any of them is imported
