"""What is fine-tuned: fetched before a training, and made ready for it."""

import contextlib
from typing import TYPE_CHECKING, Any

from tfhub_ft.settings import Settings, TrainingSettings, option_name
from tfhub_ft.tasks.base import Task, load_plugin
from tfhub_ft.utils.errors import InputError

if TYPE_CHECKING:
    import keras


def fetch(task: Task, settings: TrainingSettings) -> None:
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


def prepare(task: Task, network: "keras.Model", settings: TrainingSettings) -> tuple[Any, dict[str, float], list[str]]:
    """Do to the pretrained layer of a network what the settings ask for before it trains.

    Returns:
        The layer, the share of the learning rate that weights have by their paths, and what of it trains in each epoch;
        both empty where all trains alike.

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
