"""Evaluate runs, compare them and report on them."""
