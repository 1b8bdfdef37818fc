import numpy as np

from tfhub_ft.data.fingerprints import fingerprints, numbered


def test_equal_texts_have_equal_fingerprints():
    found = fingerprints(iter(["a", "b", "a", ""]))
    assert found.dtype == np.uint64
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 3
    assert fingerprints([]).tolist() == []


def test_texts_are_numbered_as_they_appear():
    assert numbered(iter(["b", "a", "c", "a", "b"])).tolist() == [0, 1, 2, 1, 0]
    assert numbered([]).tolist() == []
