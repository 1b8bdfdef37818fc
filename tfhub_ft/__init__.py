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
from typing import TYPE_CHECKING, Any

from tfhub_ft.utils.keras_compat import register_lazily
from tfhub_ft.utils.version import __version__ as __version__

# Keras reads this when it is first imported; a hub module's variables are TensorFlow's.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

register_lazily()

# The public names by module. Type checkers, which do not run `__getattr__`, read the imports below.
_NAMES = {
    "benchmarking.benchmark": "benchmark",
    "data.prepared": "Prepared",
    "distillation.distill": "distill",
    "encoders.hub_encoder": "HubEncoder",
    "encoders.hub_preprocessor": "HubPreprocessor",
    "encoders.window_preprocessor": "WindowPreprocessor",
    "evaluation.compare_runs": "compare",
    "evaluation.evaluate": "evaluate",
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
    "settings": "DialogueSettings IntentSettings LabelSettings MultilabelSettings PairSettings ScoredPairSettings"
    " Settings TextSettings TrainingSettings TwoClassSettings WindowedSettings setting",
    "tasks.base": "Task",
    "tasks.classification": "Classification balanced_weights",
    "tasks.intent": "Intent",
    "tasks.losses": "GuessAccuracy GuessedCrossEntropy InBatchNegatives InBatchRecall InScopeAccuracy SpanCrossEntropy"
    " TagCrossEntropy WeightedCrossEntropy",
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
_HOMES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from tfhub_ft.benchmarking.benchmark import benchmark as benchmark
    from tfhub_ft.data.prepared import Prepared as Prepared
    from tfhub_ft.distillation.distill import distill as distill
    from tfhub_ft.encoders.hub_encoder import HubEncoder as HubEncoder
    from tfhub_ft.encoders.hub_preprocessor import HubPreprocessor as HubPreprocessor
    from tfhub_ft.encoders.window_preprocessor import WindowPreprocessor as WindowPreprocessor
    from tfhub_ft.evaluation.compare_runs import compare as compare
    from tfhub_ft.evaluation.evaluate import evaluate as evaluate
    from tfhub_ft.exports.export import export as export
    from tfhub_ft.inference.predict import open_predictor as open_predictor
    from tfhub_ft.inference.predict import predict as predict
    from tfhub_ft.language_models.builder import dialogue_model as dialogue_model
    from tfhub_ft.language_models.conversation import Conversation as Conversation
    from tfhub_ft.language_models.generation import ReplyWriter as ReplyWriter
    from tfhub_ft.language_models.generation import Sampling as Sampling
    from tfhub_ft.language_models.task import Dialogue as Dialogue
    from tfhub_ft.models.builders import EncoderArguments as EncoderArguments
    from tfhub_ft.models.builders import bi_encoder_model as bi_encoder_model
    from tfhub_ft.models.builders import masked_lm_model as masked_lm_model
    from tfhub_ft.models.builders import pair_model as pair_model
    from tfhub_ft.models.builders import text_model as text_model
    from tfhub_ft.models.heads import ClassificationHead as ClassificationHead
    from tfhub_ft.models.heads import CosineFeature as CosineFeature
    from tfhub_ft.models.heads import CosineSimilarity as CosineSimilarity
    from tfhub_ft.models.heads import MeanPooling as MeanPooling
    from tfhub_ft.models.heads import SplitSegments as SplitSegments
    from tfhub_ft.models.heads import StackHalves as StackHalves
    from tfhub_ft.recipe import Recipe as Recipe
    from tfhub_ft.recipe import demo_file as demo_file
    from tfhub_ft.recipe import load_recipe as load_recipe
    from tfhub_ft.run import Run as Run
    from tfhub_ft.settings import DialogueSettings as DialogueSettings
    from tfhub_ft.settings import IntentSettings as IntentSettings
    from tfhub_ft.settings import LabelSettings as LabelSettings
    from tfhub_ft.settings import MultilabelSettings as MultilabelSettings
    from tfhub_ft.settings import PairSettings as PairSettings
    from tfhub_ft.settings import ScoredPairSettings as ScoredPairSettings
    from tfhub_ft.settings import Settings as Settings
    from tfhub_ft.settings import TextSettings as TextSettings
    from tfhub_ft.settings import TrainingSettings as TrainingSettings
    from tfhub_ft.settings import TwoClassSettings as TwoClassSettings
    from tfhub_ft.settings import WindowedSettings as WindowedSettings
    from tfhub_ft.settings import setting as setting
    from tfhub_ft.tasks.base import Task as Task
    from tfhub_ft.tasks.classification import Classification as Classification
    from tfhub_ft.tasks.classification import balanced_weights as balanced_weights
    from tfhub_ft.tasks.intent import Intent as Intent
    from tfhub_ft.tasks.losses import GuessAccuracy as GuessAccuracy
    from tfhub_ft.tasks.losses import GuessedCrossEntropy as GuessedCrossEntropy
    from tfhub_ft.tasks.losses import InBatchNegatives as InBatchNegatives
    from tfhub_ft.tasks.losses import InBatchRecall as InBatchRecall
    from tfhub_ft.tasks.losses import InScopeAccuracy as InScopeAccuracy
    from tfhub_ft.tasks.losses import SpanCrossEntropy as SpanCrossEntropy
    from tfhub_ft.tasks.losses import TagCrossEntropy as TagCrossEntropy
    from tfhub_ft.tasks.losses import WeightedCrossEntropy as WeightedCrossEntropy
    from tfhub_ft.tasks.masked_lm import MaskedLM as MaskedLM
    from tfhub_ft.tasks.multilabel import Multilabel as Multilabel
    from tfhub_ft.tasks.question_answering import QuestionAnswering as QuestionAnswering
    from tfhub_ft.tasks.regression import Regression as Regression
    from tfhub_ft.tasks.retrieval import Retrieval as Retrieval
    from tfhub_ft.tasks.token_classification import TokenClassification as TokenClassification
    from tfhub_ft.training.dry_run import dry_run as dry_run
    from tfhub_ft.training.prepare import prepare as prepare
    from tfhub_ft.training.train import train as train
    from tfhub_ft.training.tune import tune as tune
    from tfhub_ft.utils.errors import InputError as InputError
    from tfhub_ft.utils.errors import Preempted as Preempted
    from tfhub_ft.utils.errors import RunError as RunError
    from tfhub_ft.utils.errors import TfhubFtError as TfhubFtError
    from tfhub_ft.utils.errors import UntrustedCode as UntrustedCode


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"{__name__}: unknown name {name!r}")
