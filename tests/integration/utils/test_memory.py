import gc

import tensorflow as tf

import tfhub_ft
from tests.conftest import TINY_SETTINGS


def test_train_releases_its_graphs(tiny_pair, reviews_csv, tmp_path):
    def graphs_after(folder):
        tfhub_ft.train(
            "sentiment", data=reviews_csv, encoder=tiny_pair, output_dir=folder, **{**TINY_SETTINGS, "epochs": 1}
        )
        gc.collect()
        return sum(isinstance(each, tf.Graph) for each in gc.get_objects())

    first = graphs_after(tmp_path / "first")
    assert graphs_after(tmp_path / "second") <= first
