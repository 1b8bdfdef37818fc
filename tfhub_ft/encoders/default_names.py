"""Default layer names that are unique within a functional model."""

import gc
import itertools
from typing import Any
from weakref import WeakSet

import keras


class DefaultNamed(keras.layers.Layer):
    """A layer whose default name is numbered only within a functional model.

    Keras numbers default names by process: the only encoder of a second model would be "encoder_1".
    """

    default_name: str
    _pending: WeakSet["DefaultNamed"] = WeakSet()

    def __init__(self, *, name: str | None = None, **kwargs: Any):
        super().__init__(name=name or self.default_name, **kwargs)
        self._is_default_name, self._is_from_config = not name, False

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DefaultNamed":
        layer = cls(**config)
        layer._is_from_config = True
        return layer

    def symbolic_call(self, *args: Any, **kwargs: Any) -> Any:
        """Choose the name, and call the layer on symbolic tensors."""
        if self._is_default_name:
            self._is_default_name = False
            self.name = self._unique_name()
        # A model made from its config names its layers itself.
        if not self._is_from_config:
            DefaultNamed._pending.add(self)
        return super().symbolic_call(*args, **kwargs)

    def _unique_name(self) -> str:
        """Return a name that no other layer outside of models has."""
        if self._is_taken():
            models = (obj for obj in gc.get_objects() if issubclass(type(obj), keras.Model))
            # A model whose construction failed may lack `layers`.
            for layer in itertools.chain.from_iterable(getattr(model, "layers", ()) for model in models):
                DefaultNamed._pending.discard(layer)
        if self._is_taken():
            # Layers of deleted models are in reference cycles, which the collector frees.
            gc.collect()
        taken = {layer.name for layer in DefaultNamed._pending}
        names = (self.name if number == 0 else f"{self.name}_{number}" for number in itertools.count())
        return next(name for name in names if name not in taken)

    def _is_taken(self) -> bool:
        return any(layer.name.startswith(self.name) for layer in DefaultNamed._pending)
