"""Rows from files, checked; their splits; batches for training."""
