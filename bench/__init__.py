"""Measurements. Each prints a table and, with --json, writes the same figures; none is a timed test."""
