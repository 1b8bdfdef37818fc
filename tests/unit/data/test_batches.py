import numpy as np
import pytest

from tfhub_ft.data.batches import TokenRows, TrainingBatches, length_buckets, tokenize
from tfhub_ft.data.windows import TokenTargets
from tfhub_ft.encoders import HubPreprocessor


def token_rows(lengths):
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.concatenate([np.arange(1, n + 1) + 100 * i for i, n in enumerate(lengths)]).astype("int32")
    return TokenRows(ids, (ids % 2).astype("int8"), starts)


def test_batch_is_padded_to_its_longest_row():
    batch = token_rows([2, 5, 3]).batch(np.array([2, 0]))
    np.testing.assert_array_equal(batch["input_word_ids"], [[201, 202, 203], [1, 2, 0]])
    np.testing.assert_array_equal(batch["input_mask"], [[1, 1, 1], [1, 1, 0]])
    np.testing.assert_array_equal(batch["input_type_ids"], [[1, 0, 1], [1, 0, 0]])


def test_order_has_every_row_once_and_little_padding():
    lengths = np.random.default_rng(0).integers(3, 60, 1000)
    tokens = token_rows(lengths)
    batches = TrainingBatches(tokens, np.arange(1000, dtype="int32"), batch_size=16, seed=0)
    order = batches.order()
    assert sorted(np.concatenate(order).tolist()) == list(range(1000))
    assert len(order) == len(batches) == 63
    padded = sum(len(rows) * lengths[rows].max() for rows in order)
    assert padded < 1.1 * lengths.sum()


def test_order_starts_with_the_largest_batch():
    lengths = np.random.default_rng(0).integers(1, 60, 1000)
    batches = TrainingBatches(token_rows(lengths), np.zeros(1000, "int32"), batch_size=16, seed=0)
    sizes = [len(batch) * lengths[batch].max() for batch in batches.order()]
    assert sizes[0] == max(sizes)


def test_order_depends_on_seed_and_epoch():
    def order(seed, epoch):
        batches = TrainingBatches(token_rows([5] * 40), np.zeros(40, "int32"), batch_size=8, seed=seed)
        batches.epoch = epoch
        return np.concatenate(batches.order()).tolist()

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_dataset_follows_the_current_epoch():
    tokens = token_rows([3] * 20)
    batches = TrainingBatches(tokens, np.arange(20, dtype="int32"), batch_size=6, seed=0)
    dataset = batches.dataset()
    assert dataset.cardinality() == 4
    for epoch in (0, 3):
        batches.epoch = epoch
        seen = np.concatenate([targets for _, targets, _ in dataset.as_numpy_iterator()])
        np.testing.assert_array_equal(seen, np.concatenate(batches.order()))


def test_subset_returns_the_tokens_of_its_rows():
    tokens = token_rows([3, 9, 5])
    some = tokens.subset(np.array([2, 0]))
    np.testing.assert_array_equal(some.lengths, [5, 3])
    for name, ids in tokens.batch(np.array([2, 0])).items():
        np.testing.assert_array_equal(some.batch(np.arange(2))[name], ids)


@pytest.mark.parametrize("segments", [1, 2])
def test_tokenize_returns_the_layers_tokens_unpadded(tiny_pair, segments):
    import tensorflow as tf

    layer = HubPreprocessor(str(tiny_pair), seq_length=14)
    texts = ["good film", "bad", "the food was good and the waiter was kind and so was everyone else here"] * 300
    inputs = [(text, "so nice")[:segments] for text in texts]
    tokens = tokenize(layer, inputs)
    assert len(tokens) == 900
    columns = [tf.constant(column) for column in zip(*inputs)]
    expected = layer(columns if segments == 2 else columns[0])
    batch = tokens.batch(np.arange(900))
    for name, ids in expected.items():
        np.testing.assert_array_equal(ids, batch[name])


@pytest.mark.parametrize("buckets", [(), (16, 32, 60)])
def test_batch_tokens_limits_the_tokens_of_a_batch(buckets):
    lengths = np.random.default_rng(0).integers(3, 60, 1000)
    batches = TrainingBatches(
        token_rows(lengths), np.zeros(1000), batch_size=16, seed=0, batch_tokens=480, buckets=buckets
    )
    counts = set()
    for epoch in (0, 1, 5):
        batches.epoch = epoch
        order = batches.order()
        counts.add(len(order))
        assert set(np.concatenate(order).tolist()) == set(range(1000))
        sizes = [batches.tokens.batch(rows, buckets)["input_mask"].size for rows in order]
        assert max(sizes) <= 480
        assert np.mean(sizes) > 440
    assert counts == {len(batches)}
    if not buckets:
        assert len(np.concatenate(order)) == 1000


def test_batch_tokens_gives_long_rows_their_own_batch():
    batches = TrainingBatches(token_rows([9, 3, 3]), np.zeros(3), batch_size=16, seed=0, batch_tokens=6)
    assert sorted(len(rows) for rows in batches.order()) == [1, 2]


@pytest.mark.parametrize("limit", [{"batch_size": 8}, {"batch_size": 8, "batch_tokens": 160}])
def test_buckets_give_few_shapes(limit):
    lengths = np.random.default_rng(0).integers(3, 37, 203)
    tokens = token_rows(lengths)
    buckets = length_buckets(lengths, 50)
    assert buckets[-1] == 50
    assert all(bucket % 8 == 0 for bucket in buckets[:-1])
    batches = TrainingBatches(tokens, np.arange(203), seed=0, buckets=buckets, **limit)
    shapes, seen = set(), []
    for batch, targets, _ in batches.dataset().as_numpy_iterator():
        shapes.add(batch["input_word_ids"].shape)
        seen += targets.tolist()
    assert set(seen) == set(range(203))
    assert len(shapes) == len({length for _, length in shapes}) <= len(buckets)
    assert {length for _, length in shapes} <= set(buckets)


def test_token_targets_are_padded_like_the_tokens():
    tokens = token_rows([2, 5])
    targets = TokenTargets(np.arange(7, dtype="int32"), tokens.starts)
    batches = TrainingBatches(tokens, targets, batch_size=2, seed=0, buckets=[8, 16])
    ((batch, padded, _),) = batches.dataset().as_numpy_iterator()
    assert batch["input_word_ids"].shape == padded.shape == (2, 8)
    assert padded.tolist() == [[2, 3, 4, 5, 6, -1, -1, -1], [0, 1, -1, -1, -1, -1, -1, -1]]


@pytest.mark.parametrize("of", [2, 3, 8])
def test_dataset_divides_batches_among_replicas(of):
    tokens = token_rows([9, 3, 5, 2, 7, 7, 4])
    batches = TrainingBatches(tokens, np.arange(7, dtype="int32"), batch_size=5, seed=0)
    whole = list(batches.dataset().as_numpy_iterator())
    parts = [list(batches.dataset(parts=range(part, part + 1), of=of).as_numpy_iterator()) for part in range(of)]
    together = list(batches.dataset(parts=range(of), of=of).as_numpy_iterator())
    for number, (batch, targets, counts) in enumerate(whole):
        dealt = [part[number] for part in parts]
        assert sorted(np.concatenate([each for _, each, _ in dealt])) == sorted(targets)
        assert {each["input_word_ids"].shape[1] for each, _, _ in dealt} == {batch["input_word_ids"].shape[1]}
        assert sum(each["share"] for _, _, each in dealt) == pytest.approx(counts["share"]) == 1
        assert sum(each["rows"] for _, _, each in dealt) == pytest.approx(counts["rows"]) == len(targets)
        for one, other in zip(dealt, together[number * of : (number + 1) * of], strict=True):
            np.testing.assert_array_equal(one[1], other[1])


def test_dataset_share_counts_token_targets():
    tokens = token_rows([4, 2])
    targets = TokenTargets(np.array([0, 1, -1, 2, 3, -1], "int32"), tokens.starts)
    batches = TrainingBatches(tokens, targets, batch_size=2, seed=0)
    (first, second) = batches.dataset(parts=range(2), of=2).as_numpy_iterator()
    assert [first[2]["share"], second[2]["share"]] == [0.75, 0.25]
    assert [first[2]["rows"], second[2]["rows"]] == [1.5, 0.5]
    assert second[1].tolist() == [[3, -1, -1, -1]]


@pytest.mark.parametrize("of", [1, 2])
def test_one_bucket_gives_static_shapes(of):
    tokens = token_rows([9, 3, 5, 2, 7])
    targets = {"per_row": np.arange(5), "per_token": TokenTargets(np.arange(26, dtype="int32"), tokens.starts)}
    batches = TrainingBatches(tokens, targets, batch_size=4, seed=0, buckets=[16])
    ids, wanted, _ = batches.dataset(parts=range(1), of=of).element_spec
    assert ids["input_word_ids"].shape == wanted["per_token"].shape == (4 // of, 16)
    assert wanted["per_row"].shape == (4 // of,)
    for batch, _, _ in batches.dataset(parts=range(1), of=of):
        assert batch["input_mask"].shape == (4 // of, 16)


@pytest.mark.parametrize("options", [{}, {"batch_tokens": 30}, {"buckets": (8,)}], ids=str)
def test_weights_stay_with_their_rows(options):
    lengths = np.random.default_rng(0).integers(1, 8, 50)
    numbers = np.arange(50, dtype="int32")
    weights = numbers.astype("float32") / 2
    batches = TrainingBatches(token_rows(lengths), numbers, weights=weights, batch_size=7, seed=0, **options)
    for parts in (1, 2):
        seen = list(batches.dataset(0, range(parts), parts).as_numpy_iterator())
        assert {*np.concatenate([targets for _, targets, _ in seen])} == {*range(50)}
        for _, targets, counts in seen:
            np.testing.assert_array_equal(counts["weights"], targets / 2)


def test_weights_of_rows_apply_to_targets_of_tokens():
    tokens = token_rows([2, 3, 1])
    targets = TokenTargets(tokens.word_ids, tokens.starts)
    weights = np.array([1.0, 2.0, 3.0], "float32")
    batches = TrainingBatches(tokens, targets, weights=weights, batch_size=3, seed=0)
    ((_, values, counts),) = batches.dataset().as_numpy_iterator()
    assert counts["weights"].shape == (3, 1)
    np.testing.assert_array_equal(counts["weights"][:, 0], 1 + values[:, 0] // 100)
