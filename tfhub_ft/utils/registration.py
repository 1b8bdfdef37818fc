"""Let Keras find the registered classes of this package before their modules are imported."""

import importlib.util
import sys
from contextlib import suppress

REGISTRY = "keras.src.saving.object_registration"
MODULES = ["encoders.hub_encoder", "encoders.window_preprocessor", "models.heads", "models.masked_lm", "tasks.losses"]
MODULES += ["training.optimizer", "language_models.language_model_layer"]
MODULES += ["language_models.dialogue_preprocessor", "language_models.byte_pair"]


class LazyObjects(dict):
    """Keras' registered objects by name. A lookup of one of this package imports modules until it is registered."""

    def __contains__(self, name: object) -> bool:
        modules = iter(MODULES if str(name).startswith("tfhub_ft>") else ())
        while not super().__contains__(name) and (module := next(modules, None)):
            with suppress(ModuleNotFoundError):
                importlib.import_module(f"tfhub_ft.{module}")
        return super().__contains__(name)


def find_spec(name: str, *_: object) -> object:
    """Make Keras' registry lazy as soon as it is there. Python calls this at every import, as for any finder."""
    if not hasattr(registry := sys.modules.get(REGISTRY), "GLOBAL_CUSTOM_OBJECTS"):
        return None
    registry.GLOBAL_CUSTOM_OBJECTS = LazyObjects(registry.GLOBAL_CUSTOM_OBJECTS)
    sys.meta_path.remove(sys.modules[__name__])
    return importlib.util.find_spec(name)
