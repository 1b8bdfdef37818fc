"""What Keras is doing while it calls a layer, which it does not tell by a public name."""

from typing import Any

from keras.src.backend.common import global_state


def entry_layer() -> Any:
    """The outermost layer or model of the current call; None outside of calls."""
    context = global_state.get_global_attribute("current_call_ctx")
    return context.entry_layer if context else None


def is_building() -> bool:
    """Whether Keras calls layers only to build them, as it does with a subclassed model before it loads weights."""
    return global_state.get_global_attribute("stateless_scope") is not None


def is_reading_legacy_file() -> bool:
    """Whether Keras makes layers for a model in a `.h5` file, which holds weights but no assets."""
    return bool(global_state.get_global_attribute("use_legacy_config"))
