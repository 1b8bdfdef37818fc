"""Exports: forms of a trained model that are served, each proven to answer as the Keras model does.

The package is not called `export` because `tfhub_ft.export` is the function.
"""
