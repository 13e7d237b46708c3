"""Proves it: bundles that anybody can check without us."""
