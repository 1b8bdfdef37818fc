"""Compute the outputs of a network for many tokenized rows."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.utils.console import with_bar
from tfhub_ft.utils.devices import sum_over_workers
from tfhub_ft.utils.precision import matrix_products_in

if TYPE_CHECKING:
    import keras

BATCH = 64


def make_logits_fn(
    network: "keras.Model", *, precision: str | None = None, batch_size: int = BATCH, progress_bar: bool = False
) -> Callable[[TokenRows], np.ndarray]:
    """Return a function from tokenized rows to a network's outputs, computed in batches of similar length.

    Args:
        network: takes a batch of the rows: token ids, or features. One that was made within the scope of a
            tf.distribute strategy computes on all replicas.
        precision: the compute dtype of matrix products, "float32", "bfloat16" or "float16"; None leaves it as it is.
        batch_size: rows in a batch.
        progress_bar: whether progress is shown.

    Returns:
        A function that returns float32 (rows, ...), in the order of the rows.
    """
    import tensorflow as tf

    step: Any = None

    def logits_of(tokens: TokenRows) -> np.ndarray:
        nonlocal step
        order = list(tokens.by_length(batch_size))
        strategy = getattr(network, "distribute_strategy", None)
        if strategy and strategy.num_replicas_in_sync > 1:
            return logits_of_replicas(strategy, network, tokens.batch, order)
        step = step or tf.function(
            lambda batch: network(batch, training=False), input_signature=[tokens.signature], autograph=False
        )
        batches = with_bar(order, "Scoring", len(tokens)) if progress_bar else order
        outputs = np.concatenate([step(tokens.batch(rows)).numpy() for rows in batches])
        logits = np.empty_like(outputs)
        logits[np.concatenate(order)] = outputs
        return logits

    return computed_in(precision, network, logits_of) if precision else logits_of


def computed_in(precision: str, network: Any, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that computes the matrix products of a network in a dtype.

    Args:
        precision: "float32", "bfloat16" or "float16".
        network: what the function calls; an export's stand-in for a Keras model has its own dtype.
        function: takes rows. It must be traced by its first call.
    """
    import keras

    if not isinstance(network, keras.Model):
        return function

    def compute(rows: Any) -> Any:
        with matrix_products_in(precision, network):
            return function(rows)

    return compute


def logits_of_replicas(
    strategy: Any, network: Any, batch_of: Callable[[np.ndarray], Any], order: Sequence[np.ndarray]
) -> np.ndarray:
    """What a network gives for many rows, its replicas taking a batch each at a time; float32 (rows, ...).

    Args:
        strategy: the network's. All its processes must call this, and each gets all outputs.
        network: takes a batch, and gives a tensor.
        batch_of: from indices of rows to a batch of them.
        order: the batches, as indices of rows; together they are all rows.
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
        taken: list[np.ndarray] = []

        def of_replica(context: Any, start: int = start, taken: list = taken) -> Any:
            number = start + context.replica_id_in_sync_group
            taken.append(order[number] if number < len(order) else order[0][:0])
            return tf.nest.map_structure(tf.constant, batch_of(taken[-1]))

        outputs = step(strategy.experimental_distribute_values_from_function(of_replica))
        local = [output.numpy() for output in strategy.experimental_local_results(outputs)]
        outputs_of_rows += zip(taken, local, strict=True)
    mine = np.zeros((sum(map(len, order)), *outputs_of_rows[0][1].shape[1:]), "float32")
    for rows, answered in outputs_of_rows:
        mine[rows] = answered
    return sum_over_workers(strategy, mine)
