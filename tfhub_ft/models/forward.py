"""Compute the outputs of a network for tokenized rows."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.utils.console import with_bar
from tfhub_ft.utils.devices import sum_over_workers
from tfhub_ft.utils.precision import matrix_products_in

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

BATCH = 64
Rows = TypeVar("Rows")
T = TypeVar("T")


def make_logits_fn(
    network: "keras.Model", *, precision: str | None = None, batch_size: int = BATCH, progress_bar: bool = False
) -> Callable[[TokenRows], np.ndarray]:
    """Return a function from tokenized rows to a network's outputs, float32 (rows, ...) in the order of the rows.

    A network that was created in the scope of a tf.distribute strategy runs on all its replicas. Without a precision,
    matrix products keep the current compute dtype.
    """
    import tensorflow as tf

    step: Callable[..., tf.Tensor] | None = None

    def logits_of(tokens: TokenRows) -> np.ndarray:
        nonlocal step
        order = list(tokens.by_length(batch_size))
        strategy = getattr(network, "distribute_strategy", None)
        if strategy and strategy.num_replicas_in_sync > 1:
            return logits_of_replicas(strategy, network, tokens.batch, order)
        # TensorFlow counts the traces of a lambda over all models and warns of the fifth; a partial is counted alone.
        step = step or tf.function(
            partial(lambda batch: network(batch, training=False)), input_signature=[tokens.signature], autograph=False
        )
        batches = with_bar(order, "Scoring", len(tokens)) if progress_bar else order
        outputs = np.concatenate([step(tokens.batch(rows)).numpy() for rows in batches])
        logits = np.empty_like(outputs)
        logits[np.concatenate(order)] = outputs
        return logits

    return computed_in(precision, network, logits_of) if precision else logits_of


def computed_in(precision: str, network: object, function: Callable[[Rows], T]) -> Callable[[Rows], T]:
    """Return a function that calls another in a compute dtype of a Keras model; other networks have their own dtype."""
    import keras

    if not isinstance(network, keras.Model):
        return function

    def compute(rows: Rows) -> T:
        with matrix_products_in(precision, network):
            return function(rows)

    return compute


def logits_of_replicas(
    strategy: "tf.distribute.Strategy",
    network: "keras.Model",
    batch_of: Callable[[np.ndarray], object],
    order: Sequence[np.ndarray],
) -> np.ndarray:
    """Return the outputs of a network for batches of row indices, computed by all replicas, in the order of the rows.

    All workers of the strategy must call this function; each gets all outputs.
    """
    import tensorflow as tf

    replicas = strategy.num_replicas_in_sync
    step = tf.function(
        lambda batches: strategy.run(lambda batch: network(batch, training=False), args=(batches,)),
        reduce_retracing=True,
        autograph=False,
    )
    outputs_of_rows: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(order), replicas):
        local_rows: list[np.ndarray] = []

        def batch_of_replica(
            context: tf.distribute.experimental.ValueContext, start: int = start, local_rows: list = local_rows
        ) -> object:
            number = start + context.replica_id_in_sync_group
            local_rows.append(order[number] if number < len(order) else order[0][:0])
            return tf.nest.map_structure(tf.constant, batch_of(local_rows[-1]))

        outputs = step(strategy.experimental_distribute_values_from_function(batch_of_replica))
        local = [output.numpy() for output in strategy.experimental_local_results(outputs)]
        outputs_of_rows += zip(local_rows, local, strict=True)
    logits = np.zeros((sum(map(len, order)), *outputs_of_rows[0][1].shape[1:]), "float32")
    for rows, outputs in outputs_of_rows:
        logits[rows] = outputs
    return sum_over_workers(strategy, logits)
