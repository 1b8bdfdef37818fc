"""Fine-tune, prove and ship TF Hub text encoders with Keras 3.

Example:
    import tfhub_ft

    run = tfhub_ft.train("sentiment", data="reviews.csv", output_dir="runs/reviews")
    tfhub_ft.evaluate(run, data="more_reviews.csv")["accuracy"]
    tfhub_ft.predict(run, ["a warm, funny film"])
    tfhub_ft.export(run, output_dir="saved_models/reviews")
    tfhub_ft.benchmark("saved_models/reviews", data="more_reviews.csv")
"""

import importlib
import os
from typing import Any

from tfhub_ft.utils.keras_compat import register_lazily

# Keras reads this when it is first imported; a hub module's variables are TensorFlow's.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

register_lazily()

__version__ = "0.1.0"
__all__ = [
    "HubEncoder",
    "HubPreprocessor",
    "Recipe",
    "Run",
    "benchmark",
    "compare",
    "distill",
    "evaluate",
    "export",
    "load_recipe",
    "predict",
    "train",
]

_HOMES = {
    "HubEncoder": "tfhub_ft.encoders.hub_encoder",
    "HubPreprocessor": "tfhub_ft.encoders.hub_preprocessor",
    "Recipe": "tfhub_ft.recipe",
    "Run": "tfhub_ft.run",
    "benchmark": "tfhub_ft.benchmarking.benchmark",
    "compare": "tfhub_ft.evaluation.compare_runs",
    "distill": "tfhub_ft.distillation.distill",
    "evaluate": "tfhub_ft.evaluation.evaluate",
    "export": "tfhub_ft.exports.export",
    "load_recipe": "tfhub_ft.recipe",
    "predict": "tfhub_ft.inference.predict",
    "train": "tfhub_ft.training.train",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
