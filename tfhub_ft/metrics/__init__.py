"""Scores, confidence intervals, thresholds and calibration, computed from arrays."""
