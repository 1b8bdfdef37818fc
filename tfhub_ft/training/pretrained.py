"""Build the model that is fine-tuned: load the pretrained layer, and prepare it as the settings say."""

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import Settings, TrainingSettings, option_name
from tfhub_ft.tasks.base import Task, load_plugin
from tfhub_ft.training.distribution import needs_fixed_shapes
from tfhub_ft.utils.console import log
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras


def fetch_pretrained(task: Task, settings: TrainingSettings) -> None:
    """Fetch, convert and recognize what is fine-tuned, as far as that was never done.

    It makes variables, which within a strategy's scope all workers would have to make; but only some have to.
    """
    if plugin := load_plugin(task):
        plugin.fetch(settings)
        return

    from tfhub_ft.encoders.architecture_detection import native_spec
    from tfhub_ft.encoders.resolve import resolve

    folder = resolve(settings.encoder, settings.preprocessor).encoder
    if settings.implementation != "graph":
        # A family that is not known is computed by its graph.
        with contextlib.suppress(InputError):
            native_spec(folder, settings.encoder)


@dataclass(frozen=True)
class FineTunedModel:
    """A recipe's model, ready to train.

    Args:
        model: the text-in model.
        layer: its pretrained layer: an encoder, or a language model.
        rates: the share of the learning rate that weights have, by their paths; empty where all have all of it.
        stages: what of the layer trains in each epoch; empty where that does not change.
    """

    model: "keras.Model"
    layer: Any
    rates: dict[str, float]
    stages: list[str]

    @property
    def network(self) -> "keras.Model":
        """The part of the model from tokens on."""
        return self.model.get_layer("token_model")

    @property
    def preprocessor(self) -> Any:
        """The layer that tokenizes texts."""
        return self.model.get_layer("preprocessor")


def build_model(recipe: Recipe, settings: TrainingSettings, labels: list[str], strategy: Any) -> FineTunedModel:
    """Build a recipe's model within a strategy's scope, and do to its pretrained layer what the settings ask for.

    Raises:
        InputError: the encoder is not available, or does not fit the settings.
    """
    log(f"Loading {settings.pretrained}")
    if strategy.num_replicas_in_sync > 1:
        fetch_pretrained(recipe.task, settings)
    with strategy.scope():
        model = recipe.build(settings, labels)
        built = FineTunedModel(model, *_prepare(recipe.task, model.get_layer("token_model"), settings))
    _check_shapes(built, settings, strategy)
    _check_vocabulary(built, settings)
    return built


def _prepare(task: Task, network: "keras.Model", settings: TrainingSettings) -> tuple[Any, dict[str, float], list[str]]:
    """Do to the pretrained layer of a network what the settings ask for, and return what `FineTunedModel` holds of it.

    Raises:
        InputError: the layer cannot do what is asked for.
    """
    if plugin := load_plugin(task):
        layer = plugin.pretrained_layer(network)
        _enable_lora(layer, settings)
        return layer, {}, []

    from tfhub_ft.encoders.hub_encoder import encoder_of
    from tfhub_ft.training.layerwise import layer_rates, unfreezing_stages

    encoder = encoder_of(network)
    _prepare_encoder(encoder, settings)
    _enable_lora(encoder, settings)
    stages = unfreezing_stages(settings.unfreeze, encoder.backend.names) if settings.unfreeze else []
    return encoder, layer_rates(encoder, settings.layer_decay), stages


def initialize(task: Task, built: FineTunedModel, tokens: TokenRows, targets: Any, settings: TrainingSettings) -> None:
    """Set the weights of the head that follow from the training rows, and check that something trains.

    Raises:
        InputError: nothing trains.
    """
    from tfhub_ft.models.heads import initialize_head

    initialize_head(built.network, tokens, targets, task.output_activation, settings.seed)
    _check_that_something_trains(built, tokens, settings)


def _check_that_something_trains(built: FineTunedModel, tokens: TokenRows, settings: TrainingSettings) -> None:
    """An encoder without a head has its pooler among its trainable weights, whether the pooler is read or not."""
    import numpy as np
    import tensorflow as tf

    trained = built.network.trainable_weights
    if built.stages or not all("pooler" in weight.path for weight in trained):
        return
    with tf.GradientTape() as tape:
        outputs = built.network(tokens.batch(np.arange(1)), training=False)
    if not any(gradient is not None for gradient in tape.gradient(outputs, [w.value for w in trained])):
        raise InputError(
            f"--freeze {settings.freeze}: nothing is left to train, as no head reads the encoder; freeze less of it"
        )


def _prepare_encoder(encoder: Any, settings: Settings) -> None:
    for option in ("recompute", "jit_compile", "encoder_dropout"):
        if getattr(settings, option) not in (None, False):
            encoder.backend.require_native(option_name(option))
    encoder.recompute = settings.recompute
    if settings.encoder_dropout is not None:
        encoder.backend.set_dropout(settings.encoder_dropout)
    if settings.reinit_layers is not None:
        encoder.backend.reinitialize(settings.reinit_layers)


def _enable_lora(layer: Any, settings: TrainingSettings) -> None:
    if settings.lora_rank:
        targets = [target.strip() for target in settings.lora_targets.split(",")]
        layer.enable_lora(settings.lora_rank, alpha=settings.lora_alpha, targets=targets)


def _check_shapes(built: FineTunedModel, settings: TrainingSettings, strategy: Any) -> None:
    replicas = strategy.num_replicas_in_sync
    if needs_fixed_shapes(strategy) and (settings.batch_size % replicas or settings.batch_tokens):
        raise InputError(
            f"--strategy tpu: --batch-size must be a multiple of its {replicas} cores, without --batch-tokens"
        )
    wanted, most = settings.seq_length, built.layer.max_seq_length
    if most and wanted > most:
        raise InputError(f"--seq-length {wanted}: the {settings.pretrained} reads at most {most} tokens")


def _check_vocabulary(built: FineTunedModel, settings: TrainingSettings) -> None:
    words = getattr(getattr(built.layer, "backend", None), "word_embeddings", None)
    tokens = getattr(built.preprocessor, "vocabulary_size", None)
    if words is not None and tokens is not None and tokens > words.shape[0]:
        raise InputError(
            f"--preprocessor {settings.preprocessor or settings.encoder}: has {tokens:,} tokens, but --encoder"
            f" {settings.encoder} has embeddings for {words.shape[0]:,}; choose those that belong together"
        )
