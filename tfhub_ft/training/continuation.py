"""Continue from a finished run: its model settings, labels and weights."""

import dataclasses
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfhub_ft.recipe import Recipe
from tfhub_ft.run import DISTILLATION, MODEL, Run
from tfhub_ft.settings import WINDOW_SETTINGS, TrainingSettings, option_name
from tfhub_ft.utils.arguments import check_path
from tfhub_ft.utils.console import log
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import sha256_of
from tfhub_ft.utils.keras_compat import flatten_layers

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tfhub_ft.encoders import HubEncoder

# The folder of a distilled run that contains its pruned encoder.
STUDENT_ENCODER = "encoder_pair"
# Model settings that may differ from those of the run; they do not change the weights.
ADJUSTABLE = ("seq_length", "dropout", "encoder_dropout", "implementation", "long_texts", *WINDOW_SETTINGS)
# Settings of other groups that belong to the model.
MODEL_SETTINGS = ("out_of_scope_label",)


def finished_run(path: str | Path) -> Run:
    """Return the run to continue from; raise an InputError if it is not a finished run."""
    path = check_path("--from", path, "a run, or the path of its folder (str or Path)")
    try:
        run = Run(path)
    except InputError as error:
        raise InputError(f"--from {error}") from None
    if not run.finished:
        raise InputError(f"--from {run.path}: its training did not finish; continue it with --resume first")
    return run


def inherited_settings(recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model settings of the run that `given` continues from; empty if it continues from none.

    Raises:
        InputError: The run has another task, or a given setting contradicts it.
    """
    if not given.get("from_run") or "from_run" not in recipe.settings.names():
        return {}
    run = finished_run(given["from_run"])
    task, earlier = recipe.task, run.recipe.task
    if (task.name, task.fields) != (earlier.name, earlier.fields):
        remedy = f"pass --encoder {run.path} instead" if earlier.keeps_encoder else f"pass a run of {recipe.name}"
        raise InputError(f"--from {run.path}: a run of recipe {run.recipe.name}, not {recipe.name}; {remedy}")
    inherited = {
        field.name: getattr(run.settings, field.name)
        for field in dataclasses.fields(recipe.settings)
        if field.metadata["group"] == "Model" or field.name in MODEL_SETTINGS
        if field.name != "from_run" and field.name in run.settings.names()
    }
    if given.get("long_texts", "windows") != "windows":
        inherited = {name: value for name, value in inherited.items() if name not in WINDOW_SETTINGS}
    if (run.path / DISTILLATION).is_file() and (run.path / STUDENT_ENCODER).is_dir():
        # The run may have been moved.
        inherited["encoder"] = str(run.path / STUDENT_ENCODER)
    for name, value in inherited.items():
        if name not in ADJUSTABLE and name in given and str(given[name]) != str(value):
            raise InputError(
                f"{option_name(name)} {given[name]}: the run {run.path} has {value}; leave the option out, or train"
                " without --from"
            )
    return inherited


def earlier_labels(settings: TrainingSettings) -> list[str]:
    """Return the labels of the run that settings continue from; empty if they continue from none."""
    return finished_run(settings.from_run).labels if settings.from_run else []


@dataclasses.dataclass(frozen=True)
class RunWeights:
    """The weights of a run to continue from: of its encoder by name, and of all other layers by class.

    The layers of a class are in the order of the network, and each is a list of its own weights.
    """

    path: Path
    encoder: "Mapping[str, np.ndarray]"
    layers: "Mapping[str, list[list[np.ndarray]]]"

    @classmethod
    def load(cls, settings: TrainingSettings, *, sha256: str | None = None) -> "RunWeights | None":
        """Load the weights of the run that settings continue from; return None if they continue from none.

        The state of the random generators does not change. `sha256` is the expected digest of the model, if any.
        """
        import numpy as np

        from tfhub_ft.encoders.hub_encoder import encoder_of

        if not settings.from_run:
            return None
        run = finished_run(settings.from_run)
        if sha256 not in (None, sha256_of(run.path / MODEL)):
            raise InputError(f"--from {run.path}: has changed since this run was started; train into a new folder")
        log(f"Loading the run {run.path}")
        states = random.getstate(), np.random.get_state()
        network = run.load_model().get_layer("token_model")
        random.setstate(states[0])
        np.random.set_state(states[1])
        layers = {
            name: [[weight.numpy() for weight in weights] for weights in each]
            for name, each in _own_weights(network).items()
        }
        return cls(run.path, encoder_of(network).values, layers)

    def copy_encoder(self, encoder: "HubEncoder") -> None:
        """Set the weights of an encoder before its freezing or LoRA."""
        variables = encoder.backend.variables
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        if shapes != {name: value.shape for name, value in self.encoder.items()}:
            raise InputError(
                f"--from {self.path}: its weights do not fit the encoder {encoder.encoder}; restore the encoder that"
                " the run was trained with"
            )
        for name, variable in variables.items():
            variable.assign(self.encoder[name])

    def copy_head(self, network: "keras.Model") -> None:
        """Set the weights of all layers but the encoder; new labels keep their initial ones.

        The logits of new labels come after those of the run's labels.
        """
        for name, layers in _own_weights(network).items():
            values_by_layer = self.layers.get(name, [])
            if not values_by_layer and not any(weight.trainable for weights in layers for weight in weights):
                # Computed, not learned, and not part of the saved model.
                continue
            if list(map(len, values_by_layer)) != list(map(len, layers)):
                raise self._other_head()
            for weights, values in zip(layers, values_by_layer, strict=True):
                for weight, value in zip(weights, values, strict=True):
                    weight.assign(self._widened(weight, value))

    def _widened(self, weight: "keras.Variable", value: "np.ndarray") -> "np.ndarray":
        """Return the value of a weight, followed by the current value at new labels on the last axis."""
        import numpy as np

        shape, earlier = tuple(weight.shape), value.shape
        if shape == earlier:
            return value
        if not shape or shape[:-1] != earlier[:-1] or shape[-1] < earlier[-1]:
            raise self._other_head()
        return np.concatenate([value, weight.numpy()[..., earlier[-1] :]], -1)

    def _other_head(self) -> InputError:
        return InputError(
            f"--from {self.path}: its head does not fit this recipe and its settings; pass the recipe and the settings"
            " of the run"
        )


def _own_weights(network: "keras.Model") -> "dict[str, list[list[keras.Variable]]]":
    """Return the weights that are not the encoder's: a list for each layer, by the name of the layer's class."""
    from tfhub_ft.encoders.hub_encoder import encoder_of

    taken = {id(weight) for weight in encoder_of(network).weights}
    layers: dict[str, list[list[keras.Variable]]] = {}
    # Inner layers come after the layers that contain them.
    for layer in reversed(flatten_layers(network, include_self=False)):
        weights = [weight for weight in layer.weights if id(weight) not in taken]
        if weights:
            taken |= {id(weight) for weight in weights}
            layers.setdefault(type(layer).__name__, []).append(weights)
    return layers
