"""A fault of KerasHub, bridged: a saved Llama forgets that its embeddings also make its logits."""

import functools
from typing import Any


@functools.cache
def keep_tied_embeddings() -> None:
    """Make KerasHub write down, with a Llama, whether its output layer is its embeddings.

    `LlamaBackbone` of KerasHub 0.32 takes `tie_word_embeddings` and leaves it out of its configuration. A preset or a
    `.keras` file that was saved so cannot be loaded: the loaded model wants weights for an output layer of its own.
    What is saved after a call of this function says it, and is loaded anywhere. Once KerasHub says it itself, its word
    counts, and this function has nothing to do.
    """
    from keras_hub.models import LlamaBackbone

    get_config = LlamaBackbone.get_config

    @functools.wraps(get_config)
    def with_tie(self: LlamaBackbone) -> dict[str, Any]:
        return {"tie_word_embeddings": self.tie_word_embeddings, **get_config(self)}

    LlamaBackbone.get_config = with_tie
