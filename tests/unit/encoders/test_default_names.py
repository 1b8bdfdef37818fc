import keras

from tfhub_ft.encoders.default_names import DefaultNamed


class Doubled(DefaultNamed):
    default_name = "doubled"

    def call(self, inputs):
        return 2 * inputs


def build(count, **options):
    outputs = inputs = keras.Input((1,))
    for _ in range(count):
        outputs = Doubled(**options)(outputs)
    return keras.Model(inputs, outputs)


def names_of(model):
    return [layer.name for layer in model.layers if isinstance(layer, Doubled)]


def test_default_names_are_numbered_within_a_model():
    models = [build(2), build(1)]
    assert [names_of(model) for model in models] == [["doubled", "doubled_1"], ["doubled"]]


def test_explicit_name_is_kept():
    assert names_of(build(1, name="mine")) == ["mine"]


def test_model_from_config_keeps_its_names():
    model = build(2)
    assert names_of(keras.models.clone_model(model)) == ["doubled", "doubled_1"]
