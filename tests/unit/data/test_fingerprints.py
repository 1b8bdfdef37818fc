import numpy as np

from tfhub_ft.data.fingerprints import fingerprints, number_texts


def test_fingerprints_are_equal_for_equal_texts():
    hashes = fingerprints(iter(["a", "b", "a", ""]))
    assert hashes.dtype == np.uint64
    assert hashes[0] == hashes[2]
    assert len(set(hashes.tolist())) == 3
    assert fingerprints([]).tolist() == []


def test_number_texts_numbers_in_order_of_appearance():
    assert number_texts(iter(["b", "a", "c", "a", "b"])).tolist() == [0, 1, 2, 1, 0]
    assert number_texts([]).tolist() == []
