import pytest

import tfhub_ft
from tests.conftest import make_reviews

beam = pytest.importorskip("apache_beam", reason="needs pip install '.[beam]'")
from apache_beam.testing.util import assert_that, equal_to  # noqa: E402

from tfhub_ft.inference.beam import Predict  # noqa: E402


@pytest.mark.parametrize("kind", ["run", "export"])
def test_predict_transform_predicts_each_text_once(tiny_run, tiny_export, kind):
    model = {"run": tiny_run, "export": tiny_export}[kind]
    texts = [text for text, _ in make_reviews(200)] + ["good film"] * 3
    expected = [(text, prediction["label"]) for text, prediction in zip(texts, tfhub_ft.predict(model, texts))]
    with beam.Pipeline(runner="DirectRunner") as pipeline:
        predictions = pipeline | beam.Create(texts) | Predict(model)
        assert_that(predictions | beam.Map(lambda each: (each["text"], each["label"])), equal_to(expected))


def test_predict_transform_names_empty_texts(tiny_run):
    with pytest.raises(Exception, match="the text '  ' is empty"), beam.Pipeline(runner="DirectRunner") as pipeline:
        pipeline | beam.Create(["good film", "  "]) | Predict(tiny_run)
