"""Build the model to fine-tune, and prepare its pretrained layer as the settings say."""

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.recipe import Recipe
from tfhub_ft.settings import NO_WINDOWS_ON_TPU, Settings, TrainingSettings, option_name
from tfhub_ft.tasks.base import Task, load_plugin
from tfhub_ft.training.continuation import RunWeights
from tfhub_ft.training.distribution import needs_fixed_shapes
from tfhub_ft.utils.console import log
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from tfhub_ft.encoders import HubEncoder, HubPreprocessor


@dataclass(frozen=True)
class FineTunedModel:
    """A recipe's text-in model, ready to train, its pretrained layer, and the weights of a run to continue from.

    `rates` has the learning rates of weights by path, as shares of the setting (1 for all others), and `stages` the
    value of `HubEncoder.freeze` in each epoch (empty where it does not change).
    """

    model: "keras.Model"
    layer: Any
    rates: dict[str, float]
    stages: list[str]
    earlier: RunWeights | None = None

    @property
    def network(self) -> "keras.Model":
        """The part of the model that takes tokens."""
        return self.model.get_layer("token_model")

    @property
    def preprocessor(self) -> "HubPreprocessor":
        """The layer that tokenizes texts."""
        return self.model.get_layer("preprocessor")


def build_model(
    recipe: Recipe,
    settings: TrainingSettings,
    labels: list[str],
    strategy: "tf.distribute.Strategy",
    earlier: RunWeights | None = None,
) -> FineTunedModel:
    """Build a recipe's model in the scope of a strategy, and prepare its pretrained layer as the settings say.

    `earlier` has the weights of the run that it continues from.
    """
    recipe.check(settings, labels)
    log(f"Loading {settings.pretrained}")
    if strategy.num_replicas_in_sync > 1:
        _fetch_pretrained(recipe.task, settings)
    with strategy.scope():
        model = recipe.build(settings, labels)
        if earlier:
            from tfhub_ft.encoders.hub_encoder import encoder_of

            earlier.copy_encoder(encoder_of(model.get_layer("token_model")))
        built = FineTunedModel(model, *_prepare(recipe.task, model.get_layer("token_model"), settings), earlier)
    _check_shapes(built, settings, strategy)
    _check_vocabulary(built, settings)
    return built


def _fetch_pretrained(task: Task, settings: TrainingSettings) -> None:
    """Download and convert the encoder outside of the strategy's scope, as only some workers have to do it."""
    if plugin := load_plugin(task):
        plugin.fetch(settings)
        return

    from tfhub_ft.encoders.architecture_detection import native_spec
    from tfhub_ft.encoders.resolve import resolve

    assert isinstance(settings, Settings)
    folder = resolve(settings.encoder, settings.preprocessor).encoder
    if settings.implementation != "graph":
        # Other families use the graph backend.
        with contextlib.suppress(InputError):
            native_spec(folder, settings.encoder)


def _prepare(task: Task, network: "keras.Model", settings: TrainingSettings) -> tuple[Any, dict[str, float], list[str]]:
    """Prepare the pretrained layer of a network, and return the layer, rates and stages of `FineTunedModel`."""
    if plugin := load_plugin(task):
        layer = plugin.pretrained_layer(network)
        _enable_lora(layer, settings)
        return layer, {}, []

    from tfhub_ft.encoders.hub_encoder import encoder_of
    from tfhub_ft.training.layerwise import layer_rates, unfreezing_stages

    assert isinstance(settings, Settings)
    encoder = encoder_of(network)
    _prepare_encoder(encoder, settings)
    _enable_lora(encoder, settings)
    stages = unfreezing_stages(settings.unfreeze, encoder.backend.names) if settings.unfreeze else []
    return encoder, layer_rates(encoder, settings.layer_decay), stages


def initialize(
    task: Task, built: FineTunedModel, tokens: TokenRows, targets: "np.ndarray", settings: TrainingSettings
) -> None:
    """Initialize the weights of the head that follow from the training rows, and check that not all are frozen."""
    import numpy as np
    import tensorflow as tf

    from tfhub_ft.models.heads import initialize_head

    initialize_head(built.network, tokens, targets, task.output_activation, settings.seed)
    if built.earlier:
        built.earlier.copy_head(built.network)
    weights = built.network.trainable_weights
    if built.stages or not all("pooler" in weight.path for weight in weights):
        return
    # Without a head that reads it, an unfrozen pooler lacks gradients.
    with tf.GradientTape() as tape:
        outputs = built.network(tokens.batch(np.arange(1)), training=False)
    if not any(gradient is not None for gradient in tape.gradient(outputs, [weight.value for weight in weights])):
        freeze = getattr(settings, "freeze", "none")
        raise InputError(f"--freeze {freeze}: all weights are frozen, as no head reads the encoder; freeze fewer")


def _prepare_encoder(encoder: "HubEncoder", settings: Settings) -> None:
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


def _check_shapes(built: FineTunedModel, settings: TrainingSettings, strategy: "tf.distribute.Strategy") -> None:
    replicas = strategy.num_replicas_in_sync
    if needs_fixed_shapes(strategy) and getattr(settings, "long_texts", "") == "windows":
        raise InputError(NO_WINDOWS_ON_TPU)
    if needs_fixed_shapes(strategy) and (settings.batch_size % replicas or settings.batch_tokens):
        raise InputError(
            f"--strategy tpu: --batch-size must be a multiple of its {replicas} cores, without --batch-tokens"
        )
    max_length = built.layer.max_seq_length
    if max_length and settings.seq_length > max_length:
        raise InputError(
            f"--seq-length {settings.seq_length}: the {settings.pretrained} reads at most {max_length} tokens"
        )


def _check_vocabulary(built: FineTunedModel, settings: TrainingSettings) -> None:
    embeddings = getattr(getattr(built.layer, "backend", None), "word_embeddings", None)
    tokens = getattr(built.preprocessor, "vocabulary_size", None)
    if not isinstance(settings, Settings) or embeddings is None or tokens is None or tokens <= embeddings.shape[0]:
        return
    raise InputError(
        f"--preprocessor {settings.preprocessor or settings.encoder}: has {tokens:,} tokens, but --encoder"
        f" {settings.encoder} has embeddings for {embeddings.shape[0]:,}; choose a preprocessor of the encoder"
    )
