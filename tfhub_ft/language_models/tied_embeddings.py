"""Save whether a KerasHub Llama computes its logits with its embeddings."""

import functools


@functools.cache
def keep_tied_embeddings() -> None:
    """Make KerasHub save `tie_word_embeddings` of Llama models.

    `LlamaBackbone.get_config` of KerasHub 0.32 lacks it, so that a saved model cannot be loaded: it expects weights of
    an output layer. Presets and `.keras` files that are saved after this call load everywhere. If KerasHub saves the
    argument itself, its value is kept.
    """
    from keras_hub.models import LlamaBackbone

    get_config = LlamaBackbone.get_config

    @functools.wraps(get_config)
    def with_tie(self: LlamaBackbone) -> dict[str, object]:
        return {"tie_word_embeddings": self.tie_word_embeddings, **get_config(self)}

    LlamaBackbone.get_config = with_tie
