"""The Keras layer that holds a TF Hub text encoder."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfhub_ft.encoders.architecture_detection import native_spec, read_values
from tfhub_ft.encoders.bert_forward import Architecture, Dropout, encode, role_of
from tfhub_ft.encoders.default_names import DefaultNamed
from tfhub_ft.encoders.freezing import frozen_names, top_layers
from tfhub_ft.encoders.hub_export import write_encoder
from tfhub_ft.encoders.lora import DEFAULT_TARGETS, read_adapter, updated_matrices, write_adapter
from tfhub_ft.encoders.packing import TOKEN_INPUTS
from tfhub_ft.encoders.resolve import resolve_encoder
from tfhub_ft.encoders.saved_module import open_module
from tfhub_ft.encoders.traced_graphs import TracedGraphs
from tfhub_ft.encoders.truncation import pad_hidden_states, rows_are_cut, truncate
from tfhub_ft.utils.cache import load_kept
from tfhub_ft.utils.errors import InputError
from tfhub_ft.utils.files import copy_folder, sha256_of_arrays
from tfhub_ft.utils.keras_compat import is_building, is_reading_legacy_file

IMPLEMENTATIONS = ("auto", "native", "graph")
CALLS_OF_DROPOUT = 1024
OUTPUTS = ("pooled_output", "sequence_output", "encoder_outputs")


@dataclass(frozen=True)
class _Narrowed:
    """The words that an encoder is narrowed to: their ids, each word's new number, and the embeddings of all."""

    word_ids: np.ndarray
    numbers: np.ndarray
    whole: np.ndarray


@keras.saving.register_keras_serializable("tfhub_ft")
class HubEncoder(DefaultNamed):
    """A TF Hub text encoder as a layer of Keras 3: its variables are Keras weights that `fit` trains.

    An encoder of a family that is known (BERT, DistilBERT, ELECTRA and ALBERT as TF Hub has them) is computed natively,
    by TensorFlow operations on the SavedModel's weights, which is faster and follows Keras' dtype policy; any other by
    the SavedModel's graph. A `.keras` file that holds the layer reloads without the cache and without a network.

    A layer made by `from_config`, as clones and models in `.h5` files have it, takes what it was not given by
    `set_weights` or from a file from where `encoder` says, and refuses other weights than the original had.

    Args:
        encoder: a catalogue name, a handle, a URL or a SavedModel folder.
        implementation: "native", "graph", or "auto": native where the family is known.
        freeze: which weights stay fixed while the layer is trainable: "none", "embeddings", "N" (embeddings and the
            lowest N layers), "all-but-N" (the top N layers and the pooler train), "all-but-pooler" or "all".
        seed: of the encoder's own dropout; drawn from `keras.utils.set_random_seed`'s generator when not given.
        recompute: whether training computes each layer once more for its gradients instead of keeping what it
            computed: less memory, more time. Native encoders alone can.

    Call arguments:
        inputs: {"input_word_ids", "input_mask", "input_type_ids"}, each int32 of shape (batch, length). Of a row that
            has more tokens than the encoder reads, its first ones and the last one are read.
        training: whether the encoder's dropout is active.

    Returns:
        {"pooled_output": float32 (batch, hidden), "sequence_output": float32 (batch, length, hidden),
        "encoder_outputs": a list of the layers' outputs, each like sequence_output, "word_embeddings": the weight
        itself, float32 (vocabulary, size), for an output that is tied to it}, as far as the encoder has them. Hidden
        states of tokens that are not read are zero.

    The loaded SavedModel is the layer's `module`; None where it is computed natively.

    Raises:
        InputError: no such encoder, a SavedModel that is no text encoder, or of another family than `implementation`
            asks for; a `freeze` that does not fit it; or symbolic inputs of a preprocessor, or of a length, that has
            more tokens than the encoder reads.

    Example:
        encoded = HubEncoder("minilm-l6", freeze="embeddings")(tokens)
        logits = keras.layers.Dense(2)(encoded["pooled_output"])

    Reference:
        https://www.tensorflow.org/hub/common_saved_model_apis/text#transformer-encoders
    """

    default_name = "encoder"

    def __init__(
        self,
        encoder: str = "minilm-l6",
        *,
        implementation: str = "auto",
        freeze: str = "none",
        seed: int | None = None,
        spec: dict[str, Any] | None = None,
        lora: dict[str, Any] | None = None,
        recompute: bool = False,
        **kwargs: Any,
    ):
        digest = kwargs.pop("weights_sha256", None)
        super().__init__(**kwargs)
        self._expected_digest, self._lacks_weights = digest, spec is not None
        self.encoder, self.implementation, self._freeze = str(encoder), implementation, str(freeze)
        self.recompute, self._lora, self._updates = recompute, None, {}
        self._narrowed: _Narrowed | None = None
        self._graphs = TracedGraphs()
        self.seed = random.randrange(1, 2**31) if seed is None else seed
        self.module = None
        values = load_kept(lambda: resolve_encoder(encoder), self._open) if spec is None else None
        if spec is not None:
            self.spec = spec
        self._hold(_uninitialized(self.spec["variables"]) if values is None else values)
        if self.is_native:
            # Counts training steps: the masks of dropout follow from the seed and from it.
            self._steps = self.add_weight(
                shape=(),
                # An int32 stays in the processor's memory, where XLA does not reach it from a GPU.
                dtype="int64",
                initializer="zeros",
                trainable=False,
                name="steps",
                aggregation="only_first_replica",
            )
        self.built = True
        if lora:
            self._add_updates(**lora)

    def _open(self, folder: Path) -> list[Any]:
        """Find out what the encoder is; the values of its variables."""
        if self.implementation not in IMPLEMENTATIONS:
            raise InputError(f"--implementation {self.implementation}: not one of {', '.join(IMPLEMENTATIONS)}")
        if self.implementation != "graph":
            try:
                self.spec = native_spec(folder, self.encoder)
            except InputError:
                if self.implementation == "native":
                    raise
            else:
                values = read_values(folder)
                return [values[variable["name"]] for variable in self.spec["variables"]]
        self.module, self._workspace = open_module(folder, seed=self.seed)
        self.spec = describe(self.module, self.encoder)
        return self.module.variables

    def _require_weights(self) -> None:
        """Fill in what a layer that was made from its config lacks, once it is needed.

        Raises:
            InputError: there is no such encoder, or its weights are not those that the layer's original had.
        """
        if not self._lacks_weights or is_building():
            return
        import tensorflow as tf

        remedy = "copy the weights by set_weights, or load the model from a .keras file"
        with tf.init_scope():
            missing = self._unset_variables
            if not missing and (self.is_native or self.module is not None):
                self._lacks_weights = False
                return
            try:
                folder = resolve_encoder(self.encoder)
                source = read_values(folder) if missing else {}
                for name, variable in missing.items():
                    variable.assign(source[name])
                if not self.is_native and self.module is None:
                    self._attach(folder)
            except (InputError, KeyError, ValueError) as error:
                self._unset(missing)
                raise InputError(f"{self.name}: was made without its weights ({error}); {remedy}") from None
            self._lacks_weights = False
            if missing and self._expected_digest not in (None, self._digest()):
                self._unset(missing)
                raise InputError(
                    f"{self.name}: was made from the config of a layer with other weights than {self.encoder} has;"
                    f" {remedy}"
                )

    @property
    def _unset_variables(self) -> dict[str, "keras.Variable"]:
        """The variables that were given no value, by name."""
        by_name = self._by_name
        unset = {name: variable for name, variable in by_name.items() if _is_unset(variable)}
        # Booleans and integers cannot tell by themselves.
        others = {name: variable for name, variable in by_name.items() if "float" not in variable.dtype}
        return unset | others if unset else {}

    def _unset(self, variables: dict[str, "keras.Variable"]) -> None:
        self._lacks_weights = True
        for variable in variables.values():
            variable.assign(_unset_value(variable))

    def _attach(self, folder: Path, name: str | None = None) -> None:
        """Compute by the graph of a SavedModel on the weights that the layer holds."""
        held = [variable.value for variable in self._module_variables]
        self.module, self._workspace = open_module(folder, seed=self.seed, variables=held, name=name)

    def _digest(self) -> str:
        """What predictions follow from, as a hexadecimal number."""
        return sha256_of_arrays(self.values.values())

    @property
    def is_native(self) -> bool:
        """Whether it is computed by operations of our own instead of by the SavedModel's graph."""
        return "architecture" in self.spec

    @property
    def freeze(self) -> str:
        """Which weights stay fixed while the layer is trainable.

        Setting it takes effect at the next `model.compile`, as setting `trainable` does.
        """
        return self._freeze

    @freeze.setter
    def freeze(self, freeze: str) -> None:
        frozen_names(self.names, str(freeze))
        self._freeze = str(freeze)
        self._update_trainable_variables()

    @property
    def trainable(self) -> bool:
        """Whether the layer trains: if true, all weights that `freeze` leaves (with LoRA, their updates) do."""
        return super().trainable

    @trainable.setter
    def trainable(self, trainable: bool) -> None:
        keras.layers.Layer.trainable.fset(self, trainable)
        self._update_trainable_variables()

    def _update_trainable_variables(self) -> None:
        frozen = frozen_names(self.names, self._freeze)
        for described, variable in zip(self.spec["variables"], self._module_variables, strict=True):
            trains = self.trainable and described["trainable"] and described["name"] not in frozen
            variable.trainable = trains and not self._lora
            for factor in self._updates.get(described["name"], ()):
                factor.trainable = trains

    @property
    def _trained_names(self) -> set[str]:
        """The names of the weights that train, directly or through a LoRA update."""
        return {
            name
            for name, variable in self._by_name.items()
            if any(each.trainable for each in (variable, *self._updates.get(name, ())))
        }

    @property
    def body_is_frozen(self) -> bool:
        """Whether nothing below the pooler trains. The encoder's dropout is then off."""
        return all("pooler" in name for name in self._trained_names)

    def set_dropout(self, rate: float) -> None:
        """Set the dropout rate of a native encoder's hidden states and attention probabilities."""
        self.spec["architecture"] = {**self.spec["architecture"], "dropout": rate, "attention_dropout": rate}
        self._graphs.retrace()

    @property
    def max_seq_length(self) -> int | None:
        """The most tokens of a row, where the encoder's position embeddings set a limit."""
        return self.spec["max_seq_length"]

    def check_length(self, seq_length: int) -> None:
        """Raise an InputError where rows may have more tokens than the encoder reads."""
        if self.max_seq_length and seq_length > self.max_seq_length:
            raise InputError(
                f"--seq-length {seq_length}: the encoder {self.encoder} reads at most {self.max_seq_length} tokens"
            )

    @property
    def values(self) -> dict[str, np.ndarray]:
        """The weights that it has now, by their names in the SavedModel."""
        self._require_weights()
        values = {name: _numpy(held) for name, held in self._by_name.items()}
        return values | {name: values[name] + self._update(name) for name in self._updates}

    @property
    def frozen_values(self) -> dict[str, np.ndarray]:
        """The values of the weights that do not train."""
        trained = self._trained_names
        return {name: value for name, value in self.values.items() if name not in trained}

    @property
    def names(self) -> list[str]:
        """The names of its weights in the SavedModel."""
        return [variable["name"] for variable in self.spec["variables"]]

    @property
    def _by_name(self) -> dict[str, "keras.Variable"]:
        return dict(zip(self.names, self._module_variables, strict=True))

    def enable_lora(self, rank: int, *, alpha: float | None = None, targets: Sequence[str] = DEFAULT_TARGETS) -> None:
        """Train low-rank updates of matrices instead of the encoder's weights, which stay fixed.

        A model that was compiled before must be compiled again before it trains.

        Args:
            rank: of the updates, from 1 to the encoder's width.
            alpha: an update is scaled by alpha / rank; twice the rank when not given.
            targets: which matrices: query, key, value, attention_output, intermediate, output, pooler. Matrices that
                `freeze` excludes at this time get no update, and an update whose matrix it excludes later stays fixed.

        Raises:
            InputError: the encoder is not computed natively or has updates already, an argument does not fit it, or a
                tf.function of the caller has traced the layer.

        Example:
            model.get_layer("token_model").get_layer("encoder").enable_lora(8)

        Reference:
            Hu et al. 2021, https://arxiv.org/abs/2106.09685
        """
        if self._lora:
            raise InputError(f"{self.name}: LoRA is enabled already; call merge_lora before enabling it again")
        self._add_updates(rank, 2 * rank if alpha is None else alpha, targets)

    def _add_updates(self, rank: int, alpha: float, targets: Sequence[str], names: Sequence[str] | None = None) -> None:
        """Add the updates of the weights with these names, by default of all that `freeze` leaves."""
        if not self.is_native:
            raise InputError(f"--lora-rank: {self.encoder} is computed by its graph, which cannot take updates")
        chosen = set(self.names) - frozen_names(self.names, self.freeze) if names is None else set(names)
        shapes = {v["name"]: v["shape"] for v in self.spec["variables"] if v["name"] in chosen}
        matrices = updated_matrices(shapes, targets, rank)
        self._graphs.retrace_all(self.name)
        self._drop_updates()
        self._lora = {"rank": rank, "alpha": alpha, "targets": list(targets), "names": list(matrices)}
        self._updates = {name: self._low_rank(name, sizes, n) for n, (name, sizes) in enumerate(matrices.items())}
        self._update_trainable_variables()

    def _low_rank(self, name: str, sizes: tuple[int, int], number: int) -> list["keras.Variable"]:
        """The factors of a matrix' update, of which the second is zero at first."""
        rank, (inputs, outputs) = self._lora["rank"], sizes
        normal = keras.initializers.RandomNormal(inputs**-0.5, seed=self.seed + number)
        name = name.replace("/", "_")
        return [
            self.add_weight(shape=(inputs, rank), initializer=normal, autocast=False, name=f"{name}_down"),
            self.add_weight(shape=(rank, outputs), initializer="zeros", autocast=False, name=f"{name}_up"),
        ]

    def _factors(self, name: str) -> tuple[Any, Any]:
        """The factors of what a weight's update adds to it, float32 (inputs, rank) and (rank, outputs)."""
        import tensorflow as tf

        down, up = map(tf.convert_to_tensor, self._updates[name])
        return down, up * (self._lora["alpha"] / self._lora["rank"])

    def _update(self, name: str) -> np.ndarray:
        """What a weight's update adds to it, float32."""
        down, up = self._factors(name)
        return keras.ops.convert_to_numpy(down @ up).reshape(self._by_name[name].shape)

    def merge_lora(self) -> None:
        """Add the updates to the weights and remove them. Without LoRA, this does nothing.

        Graphs that were traced before give the same outputs afterwards.
        """
        if not self._lora:
            return
        values = self.values
        for name in self._updates:
            self._by_name[name].assign(values[name])
        self._drop_updates()
        self._graphs.retrace()

    def _drop_updates(self) -> None:
        for factor in keras.tree.flatten(dict(self._updates)):
            # Graphs that were traced with the factors still add their product.
            factor.assign(np.zeros(factor.shape))
            self._untrack_variable(factor)
        self._lora, self._updates = None, {}
        self._update_trainable_variables()

    def save_lora_weights(self, path: str | Path) -> None:
        """Write the low-rank updates alone into a safetensors file.

        Raises:
            InputError: there are none.
        """
        if not self._lora:
            raise InputError(f"{path}: the encoder has no adapter to be saved; call enable_lora and train it first")
        described = {name: json.dumps(self._lora[name]) for name in ("rank", "alpha", "targets")}
        described |= {"encoder": self.encoder, "freeze": self.freeze, "base_sha256": self._base_digest()}
        write_adapter(Path(path), self._updates, described)

    def load_lora_weights(self, path: str | Path) -> None:
        """Load low-rank updates from a file that `save_lora_weights` wrote, in place of any others.

        Raises:
            InputError: the file is not an adapter or belongs to another encoder, or a tf.function of the caller has
                traced the layer.

        Example:
            encoder = HubEncoder("minilm-l6")
            encoder.load_lora_weights("runs/reviews/adapter.safetensors")
        """
        factors, described = read_adapter(Path(path))
        if "base_sha256" not in described:
            raise InputError(f"{path} is no adapter of tfhub_ft")
        if described["base_sha256"] != self._base_digest():
            raise InputError(f"{path} was trained over other weights than {self.encoder} has: {described['encoder']}'s")
        names = {tensor.rpartition("/")[0] for tensor in factors}
        self._add_updates(*(json.loads(described[name]) for name in ("rank", "alpha", "targets")), names=names)
        self.freeze = described["freeze"]
        for name, (down, up) in self._updates.items():
            down.assign(factors[f"{name}/down"])
            up.assign(factors[f"{name}/up"])

    def _base_digest(self) -> str:
        self._require_weights()
        return sha256_of_arrays(map(_numpy, self._module_variables))

    def reinitialize(self, layers: int) -> None:
        """Draw the weights of the top layers, and of the pooler, anew.

        Args:
            layers: how many; 0 is the pooler alone.

        Raises:
            InputError: the encoder has fewer layers.

        Reference:
            Zhang et al. 2021, https://arxiv.org/abs/2006.05987
        """
        chosen = top_layers(self.names, layers, "--reinit-layers")
        self._require_weights()
        for number, (name, variable) in enumerate(self._by_name.items()):
            if name not in chosen:
                continue
            kind = name.rsplit("/", 1)[-1]
            drawn = keras.initializers.TruncatedNormal(0.02, seed=self.seed + number)
            initial = {"kernel": drawn, "gamma": keras.initializers.Ones()}.get(kind, keras.initializers.Zeros())
            variable.assign(initial(variable.shape))

    def restrict_vocabulary(self, word_ids: np.ndarray) -> None:
        """Hold the embeddings of some words alone, until `restore_vocabulary`: training walks through fewer weights.

        The words keep their numbers. Of all others the encoder knows nothing meanwhile.

        Args:
            word_ids: whose embeddings stay, int (words,), ascending, without repetition.
        """
        self._require_weights()
        table = self.word_embeddings
        numbers = np.zeros(table.shape[0], "int32")
        numbers[word_ids] = np.arange(len(word_ids))
        whole = keras.ops.convert_to_numpy(table)
        self._narrowed = _Narrowed(word_ids, numbers, whole)
        self._replace(table, whole[word_ids])

    def restore_vocabulary(self, share: float = 1.0) -> None:
        """Hold the embeddings of all words again.

        Args:
            share: what the embeddings that were away are multiplied with: what weight decay left of them.
        """
        narrowed, table = self._narrowed, self.word_embeddings
        whole = narrowed.whole * np.float32(share)
        whole[narrowed.word_ids] = keras.ops.convert_to_numpy(table)
        self._narrowed = None
        self._replace(table, whole)

    def cast_kernels(self, dtype: str) -> None:
        """Hold the layers' matrices in the type that they are multiplied in, for an encoder that only answers.

        They are then not rounded anew in every call, which of one text takes 2 of 15 ms.

        Args:
            dtype: "bfloat16" or "float16".
        """
        self._require_weights()
        for name, held in self._by_name.items():
            if name.endswith("kernel") and "pooler" not in name:
                self._replace(held, held.value, dtype)

    def _replace(self, old: "keras.Variable", value: Any, dtype: str | None = None) -> None:
        """Hold a weight of another shape or type in place of one."""
        self._untrack_variable(old)
        new = keras.Variable(
            value, shape=value.shape, dtype=dtype or old.dtype, trainable=old.trainable, autocast=False, name=old.name
        )
        self._module_variables = [new if held is old else held for held in self._module_variables]
        self._graphs.retrace()

    def write_module(self, folder: Path) -> None:
        """Write the encoder as a TF Hub SavedModel, with the weights that it has now.

        Args:
            folder: a folder that does not exist yet.
        """
        import tensorflow as tf

        if self.is_native:
            write_encoder(folder, self.values, Architecture(**self.spec["architecture"]))
            return
        self._require_weights()
        copy_folder(Path(self._workspace.name), folder)
        tf.train.Checkpoint(self.module).write(str(folder / "variables" / "variables"))

    def _hold(self, values: list[Any]) -> None:
        """Make the module's variables this layer's weights, as Keras' own TFSMLayer does."""
        self._module_variables = [
            keras.Variable(
                initializer=value,
                shape=variable["shape"],
                dtype=variable["dtype"],
                trainable=variable["trainable"],
                autocast=False,
                name=variable["name"].replace("/", "_"),
            )
            for variable, value in zip(self.spec["variables"], values, strict=True)
        ]
        self._update_trainable_variables()

    def call(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        import tensorflow as tf

        self._require_weights()
        training = bool(training) and not self.body_is_frozen
        table = self.word_embeddings
        tied = {} if table is None else {"word_embeddings": tf.convert_to_tensor(table)}
        if not self.is_native and self.module is None:
            return {**self._empty_outputs(inputs), **tied}
        outputs = self._encode(inputs, training) if self.is_native else self._run_module(inputs, training)
        outputs = {name: outputs[name] for name in self.spec["outputs"]}
        if self._may_be_too_long(inputs):
            outputs = pad_hidden_states(outputs, tf.shape(inputs["input_word_ids"])[1])
        return {**outputs, **tied}

    def _run_module(self, inputs: dict[str, Any], training: bool) -> dict[str, Any]:
        tokens = self._tokens(inputs)
        options = {"training": training} if self.spec["takes_training"] else {}
        return self.module({name: tokens[name] for name in self.spec["inputs"]}, **options)

    def _tokens(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs as int32, cut to the tokens that the encoder reads."""
        import tensorflow as tf

        tokens = {name: tf.cast(inputs[name], tf.int32) for name in TOKEN_INPUTS if name in inputs}
        return truncate(tokens, self.max_seq_length) if self._may_be_too_long(inputs) else tokens

    def _may_be_too_long(self, inputs: dict[str, Any]) -> bool:
        length, most = inputs["input_word_ids"].shape[1], self.max_seq_length
        return bool(most) and not rows_are_cut() and (length is None or length > most)

    def _empty_outputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        import tensorflow as tf

        batch, length = tf.unstack(tf.shape(inputs["input_word_ids"]))

        def zeros(spec: keras.KerasTensor) -> Any:
            return tf.zeros((batch, spec.shape[-1]) if len(spec.shape) == 2 else (batch, length, spec.shape[-1]))

        specs = self.compute_output_spec(inputs)
        return keras.tree.map_structure(zeros, {name: specs[name] for name in self.spec["outputs"]})

    def _encode(self, inputs: dict[str, Any], training: bool) -> dict[str, Any]:
        import tensorflow as tf

        self._require_weights()
        self._graphs.record()
        weights = {role_of(name): tf.convert_to_tensor(held) for name, held in self._by_name.items()}
        tokens = self._tokens(inputs)
        if self._narrowed:
            tokens["input_word_ids"] = tf.gather(self._narrowed.numbers, tokens["input_word_ids"])
        return encode(
            weights,
            Architecture(**self.spec["architecture"]),
            tokens,
            dtype=self.compute_dtype,
            drop=self._dropout() if training else None,
            recompute=training and self.recompute,
            updates={role_of(name): self._factors(name) for name in self._updates},
        )

    def first_token(self, inputs: dict[str, Any]) -> Any:
        """The last hidden state of each row's first token, float32 (batch, hidden), as the pooler reads it.

        In a graph a native encoder's last layer then computes no other token.
        """
        if self.is_native:
            return self._encode(inputs, training=False)["first_token"]
        return self(inputs)["sequence_output"][:, 0]

    def _dropout(self) -> Dropout:
        """This call's dropout: another one in each call and on each replica."""
        import tensorflow as tf

        step = tf.cast(self._steps.value, tf.int32)
        self._steps.assign_add(1)
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context else 0
        return Dropout(tf.stack([self.seed + replica, step * CALLS_OF_DROPOUT]))

    @property
    def word_embeddings(self) -> "keras.Variable | None":
        """The embeddings of words, float32 (vocabulary, size); None where no weight is called so."""
        named = (v for v in self._module_variables if "word_embedding" in v.name and len(v.shape) == 2)
        return next(named, None)

    def compute_output_spec(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        batch, length = inputs["input_word_ids"].shape
        # Models of earlier versions, which layers without weights belong to, still load.
        if not self._lacks_weights:
            source = getattr(inputs["input_word_ids"], "_keras_history", None)
            self.check_length(length or getattr(getattr(source, "operation", None), "seq_length", 0))

        def tensor(shape: list[int | None]) -> keras.KerasTensor:
            return keras.KerasTensor((batch, shape[-1]) if len(shape) == 2 else (batch, length, shape[-1]))

        table = self.word_embeddings
        tied = {} if table is None else {"word_embeddings": keras.KerasTensor(table.shape, dtype=table.dtype)}
        outputs = {
            name: [tensor(s) for s in shape] if name == "encoder_outputs" else tensor(shape)
            for name, shape in self.spec["outputs"].items()
        }
        return {**outputs, **tied}

    def get_config(self) -> dict[str, Any]:
        own = {n: getattr(self, n) for n in ("encoder", "implementation", "freeze", "seed", "spec", "recompute")}
        is_incomplete = self._lacks_weights and self._unset_variables
        digest = self._expected_digest if is_incomplete else self._digest()
        return {**super().get_config(), **own, "lora": self._lora and dict(self._lora), "weights_sha256": digest}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "HubEncoder":
        layer = cls(**config)
        layer._is_made_of_config = True
        if is_reading_legacy_file() and not layer.is_native:
            # The file has its weights, but not its graph.
            layer._attach(resolve_encoder(layer.encoder))
        return layer

    def save_own_variables(self, store: dict[str, Any]) -> None:
        self._require_weights()
        for number, variable in enumerate(self._held):
            store[str(number)] = _numpy(variable)

    def load_own_variables(self, store: dict[str, Any]) -> None:
        if len(store) != len(self._held):
            raise ValueError(f"layer {self.name} has {len(self._held)} weights, and the file {len(store)}")
        for number, variable in enumerate(self._held):
            variable.assign(store[str(number)])
        self._lacks_weights = not self.is_native and self.module is None

    @property
    def _held(self) -> list["keras.Variable"]:
        """All weights, in an order that does not depend on which of them train."""
        steps = [self._steps] if self.is_native else []
        return [*self._module_variables, *steps, *keras.tree.flatten(dict(self._updates))]

    def save_assets(self, dir_path: str) -> None:
        if self.is_native:
            return
        self._require_weights()
        copy_folder(Path(self._workspace.name), Path(dir_path))

    def load_assets(self, dir_path: str) -> None:
        if self.is_native:
            return
        self._attach(Path(dir_path), f"the layer {self.name}")


def encoder_of(network: keras.Model) -> HubEncoder:
    """The encoder in a token model."""
    return next(layer for layer in network._flatten_layers() if isinstance(layer, HubEncoder))


def _uninitialized(variables: list[dict[str, Any]]) -> list[Any]:
    """Variables of NaN, so that those that were given a value can be recognized."""
    import tensorflow as tf

    return [
        tf.Variable(_unset_value(tf.TensorSpec(v["shape"], v["dtype"])), trainable=v["trainable"], name=v["name"])
        for v in variables
    ]


def _numpy(variable: "keras.Variable") -> np.ndarray:
    # np.asarray fails on a scalar variable of several replicas within their strategy's scope.
    return np.asarray(variable.numpy())


def _unset_value(variable: Any) -> Any:
    import tensorflow as tf

    dtype = tf.as_dtype(variable.dtype)
    return tf.fill(variable.shape, tf.cast(float("nan") if dtype.is_floating else 0, dtype))


def _is_unset(variable: "keras.Variable") -> bool:
    import tensorflow as tf

    value = tf.convert_to_tensor(variable)
    return value.dtype.is_floating and bool(tf.reduce_all(tf.math.is_nan(value)))


def describe(module: Any, name: str) -> dict[str, Any]:
    """What a loaded encoder takes, gives and holds, as plain values.

    Args:
        module: a loaded SavedModel.
        name: how to call it in an error.

    Returns:
        {"inputs": names, "outputs": {name: shape or shapes}, "takes_training": bool, "variables": a list of
        {"name", "shape", "dtype", "trainable"}, "max_seq_length": int or None}.

    Raises:
        InputError: it is no text encoder.
    """
    functions = getattr(module.__call__, "concrete_functions", None) if callable(module) else None
    if not functions or not hasattr(module, "variables"):
        raise InputError(f"{name} is a SavedModel but no TF Hub text encoder: it cannot be called or has no variables")
    arguments, _ = functions[0].structured_input_signature
    outputs = functions[0].structured_outputs
    features = arguments[0] if arguments else None
    if not isinstance(features, dict) or "input_word_ids" not in features or not isinstance(outputs, dict):
        raise InputError(
            f"{name} is a SavedModel but no TF Hub text encoder: it takes no dictionary with input_word_ids,"
            " input_mask and input_type_ids (a preprocessor, perhaps, or an encoder of the older, listed kind)"
        )
    trainable = {v.ref() for v in module.trainable_variables}
    variables = [
        {
            "name": v.name.split(":")[0],
            "shape": v.shape.as_list(),
            "dtype": v.dtype.name,
            "trainable": v.ref() in trainable,
        }
        for v in module.variables
    ]
    positions = [v["shape"][0] for v in variables if "position_embedding" in v["name"]]
    return {
        "inputs": sorted(features),
        "outputs": {key: _shapes(outputs[key]) for key in OUTPUTS if key in outputs},
        "takes_training": "training" in module.__call__.function_spec.arg_names,
        "variables": variables,
        "max_seq_length": positions[0] if positions else None,
    }


def _shapes(output: Any) -> list:
    return [_shapes(each) for each in output] if isinstance(output, list | tuple) else output.shape.as_list()
