"""Smaller models that answer nearly as a trained one does."""
