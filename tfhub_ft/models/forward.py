"""Compute the outputs of a network for many tokenized rows."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfhub_ft.data.batches import TokenRows
from tfhub_ft.utils.console import with_bar
from tfhub_ft.utils.devices import sum_over_workers

if TYPE_CHECKING:
    import keras

BATCH = 64


def logits_function(
    network: "keras.Model", *, batch_size: int = BATCH, scoring: bool = False
) -> Callable[[TokenRows], np.ndarray]:
    """A function from tokenized rows to their logits, computed in batches of similar length.

    Args:
        network: a model that takes token ids, or what else a batch of the rows is. One that was made within the scope
            of a tf.distribute strategy answers on all its replicas.
        batch_size: rows at once.
        scoring: whether a bar shows how far it is.

    Returns:
        A function that gives float32 (rows, classes), in the order of the rows.
    """
    import tensorflow as tf

    step: Any = None

    def logits_of(tokens: TokenRows) -> np.ndarray:
        nonlocal step
        order = list(tokens.by_length(batch_size))
        strategy = getattr(network, "distribute_strategy", None)
        if strategy and strategy.num_replicas_in_sync > 1:
            return answers_of_replicas(strategy, network, tokens.batch, order)
        step = step or tf.function(
            lambda batch: network(batch, training=False), input_signature=[tokens.signature], autograph=False
        )
        batches = with_bar(order, "Scoring", len(tokens)) if scoring else order
        answers = np.concatenate([step(tokens.batch(rows)).numpy() for rows in batches])
        logits = np.empty_like(answers)
        logits[np.concatenate(order)] = answers
        return logits

    return logits_of


def answers_of_replicas(
    strategy: Any, network: Any, batch_of: Callable[[np.ndarray], Any], order: Sequence[np.ndarray]
) -> np.ndarray:
    """What a network gives for many rows, its replicas taking a batch each at a time; float32 (rows, ...).

    Args:
        strategy: the network's. All its processes must call this, and each gets all answers.
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
    answers: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(order), replicas):
        taken: list[np.ndarray] = []

        def of_replica(context: Any, start: int = start, taken: list = taken) -> Any:
            number = start + context.replica_id_in_sync_group
            taken.append(order[number] if number < len(order) else order[0][:0])
            return tf.nest.map_structure(tf.constant, batch_of(taken[-1]))

        outputs = step(strategy.experimental_distribute_values_from_function(of_replica))
        local = [output.numpy() for output in strategy.experimental_local_results(outputs)]
        answers += zip(taken, local, strict=True)
    mine = np.zeros((sum(map(len, order)), *answers[0][1].shape[1:]), "float32")
    for rows, answered in answers:
        mine[rows] = answered
    return sum_over_workers(strategy, mine)
