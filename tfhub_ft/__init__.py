"""Fine-tune, verify and ship TF Hub text encoders with Keras 3.

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
from typing import TYPE_CHECKING

from tfhub_ft.utils.keras_compat import register_lazily
from tfhub_ft.utils.version import __version__ as __version__

# Keras reads this when it is first imported; hub modules have TensorFlow variables.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

register_lazily()

# The public names by module, which `__getattr__` imports; type checkers read the imports below.
_NAMES = {
    "benchmarking.benchmark": "benchmark",
    "data.formats.memory": "Rows",
    "data.prepared": "Prepared",
    "distillation.distill": "distill",
    "encoders.hub_encoder": "HubEncoder",
    "encoders.hub_preprocessor": "HubPreprocessor",
    "encoders.window_preprocessor": "WindowPreprocessor",
    "evaluation.compare_runs": "compare",
    "evaluation.evaluate": "evaluate",
    "evaluation.inspect_rows": "inspect",
    "exports.export": "export",
    "inference.predict": "open_predictor predict",
    "language_models.conversation": "Conversation",
    "language_models.builder": "dialogue_model",
    "language_models.generation": "ReplyWriter Sampling",
    "language_models.task": "Dialogue",
    "models.builders": "EncoderArguments bi_encoder_model masked_lm_model pair_model text_model",
    "models.heads": "ClassificationHead CosineFeature CosineSimilarity MeanPooling SplitSegments StackHalves",
    "recipe": "Recipe demo_file load_recipe",
    "run": "Run",
    "settings": "DialogueSettings IntentSettings LabelSettings LongTextSettings MultilabelSettings PairSettings"
    " ScoredPairSettings ScoredTextSettings Settings TextSettings TrainingSettings TwoClassSettings WindowedSettings"
    " setting",
    "tasks.base": "Task",
    "tasks.classification": "Classification balanced_weights",
    "tasks.intent": "Intent",
    "tasks.losses": "GuessAccuracy GuessedCrossEntropy InBatchNegatives InBatchRecall InScopeAccuracy SpanCrossEntropy"
    " TagCrossEntropy WeightedBinaryCrossEntropy WeightedCrossEntropy",
    "tasks.masked_lm": "MaskedLM",
    "tasks.multilabel": "Multilabel",
    "tasks.question_answering": "QuestionAnswering",
    "tasks.regression": "Regression",
    "tasks.retrieval": "Retrieval",
    "tasks.token_classification": "TokenClassification",
    "training.dry_run": "dry_run",
    "training.prepare": "prepare",
    "training.train": "train",
    "training.tune": "tune",
    "utils.errors": "InputError Preempted RunError TfhubFtError UntrustedCode",
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names.split()}
__all__ = [
    "Classification", "ClassificationHead", "Conversation", "CosineFeature", "CosineSimilarity", "Dialogue",
    "DialogueSettings", "EncoderArguments", "GuessAccuracy", "GuessedCrossEntropy", "HubEncoder",
    "HubPreprocessor", "InBatchNegatives", "InBatchRecall", "InScopeAccuracy", "InputError", "Intent",
    "IntentSettings", "LabelSettings", "LongTextSettings", "MaskedLM", "MeanPooling", "Multilabel",
    "MultilabelSettings", "PairSettings", "Preempted", "Prepared", "QuestionAnswering", "Recipe", "Regression",
    "ReplyWriter", "Retrieval", "Rows", "Run", "RunError", "Sampling", "ScoredPairSettings",
    "ScoredTextSettings", "Settings", "SpanCrossEntropy", "SplitSegments", "StackHalves", "TagCrossEntropy",
    "Task", "TextSettings", "TfhubFtError", "TokenClassification", "TrainingSettings", "TwoClassSettings",
    "UntrustedCode", "WeightedBinaryCrossEntropy", "WeightedCrossEntropy", "WindowPreprocessor",
    "WindowedSettings", "balanced_weights", "benchmark", "bi_encoder_model", "compare", "demo_file",
    "dialogue_model", "distill", "dry_run", "evaluate", "export", "inspect", "load_recipe",
    "masked_lm_model", "open_predictor", "pair_model", "predict", "prepare", "setting", "text_model", "train", "tune",
]  # fmt: skip

if TYPE_CHECKING:
    from tfhub_ft.benchmarking.benchmark import benchmark
    from tfhub_ft.data.formats.memory import Rows
    from tfhub_ft.data.prepared import Prepared
    from tfhub_ft.distillation.distill import distill
    from tfhub_ft.encoders.hub_encoder import HubEncoder
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor
    from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor
    from tfhub_ft.evaluation.compare_runs import compare
    from tfhub_ft.evaluation.evaluate import evaluate
    from tfhub_ft.evaluation.inspect_rows import inspect
    from tfhub_ft.exports.export import export
    from tfhub_ft.inference.predict import open_predictor, predict
    from tfhub_ft.language_models.builder import dialogue_model
    from tfhub_ft.language_models.conversation import Conversation
    from tfhub_ft.language_models.generation import ReplyWriter, Sampling
    from tfhub_ft.language_models.task import Dialogue
    from tfhub_ft.models.builders import EncoderArguments, bi_encoder_model, masked_lm_model, pair_model, text_model
    from tfhub_ft.models.heads import (
        ClassificationHead,
        CosineFeature,
        CosineSimilarity,
        MeanPooling,
        SplitSegments,
        StackHalves,
    )
    from tfhub_ft.recipe import Recipe, demo_file, load_recipe
    from tfhub_ft.run import Run
    from tfhub_ft.settings import (
        DialogueSettings,
        IntentSettings,
        LabelSettings,
        LongTextSettings,
        MultilabelSettings,
        PairSettings,
        ScoredPairSettings,
        ScoredTextSettings,
        Settings,
        TextSettings,
        TrainingSettings,
        TwoClassSettings,
        WindowedSettings,
        setting,
    )
    from tfhub_ft.tasks.base import Task
    from tfhub_ft.tasks.classification import Classification, balanced_weights
    from tfhub_ft.tasks.intent import Intent
    from tfhub_ft.tasks.losses import (
        GuessAccuracy,
        GuessedCrossEntropy,
        InBatchNegatives,
        InBatchRecall,
        InScopeAccuracy,
        SpanCrossEntropy,
        TagCrossEntropy,
        WeightedBinaryCrossEntropy,
        WeightedCrossEntropy,
    )
    from tfhub_ft.tasks.masked_lm import MaskedLM
    from tfhub_ft.tasks.multilabel import Multilabel
    from tfhub_ft.tasks.question_answering import QuestionAnswering
    from tfhub_ft.tasks.regression import Regression
    from tfhub_ft.tasks.retrieval import Retrieval
    from tfhub_ft.tasks.token_classification import TokenClassification
    from tfhub_ft.training.dry_run import dry_run
    from tfhub_ft.training.prepare import prepare
    from tfhub_ft.training.train import train
    from tfhub_ft.training.tune import tune
    from tfhub_ft.utils.errors import InputError, Preempted, RunError, TfhubFtError, UntrustedCode

else:

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return getattr(importlib.import_module(_MODULES[name]), name)
        raise AttributeError(f"{__name__}: unknown name {name!r}")
