"""Predict with runs and exports."""
