"""Measure the artifacts of an export side by side."""
