"""Keras models and layers that recipes compose."""
