from tfhub_ft.tasks.prediction_columns import free_names, prediction_columns, table_cells


def test_prediction_columns_has_a_column_for_each_probability():
    prediction = {"label": "a", "probabilities": {"a": 0.75, "b c": 0.25}, "score": 0.75}
    assert prediction_columns(prediction) == {
        "label": "a",
        "score": 0.75,
        "probability_a": 0.75,
        "probability_b c": 0.25,
    }


def test_table_cells_round_numbers_and_show_empty_lists_of_objects():
    cells = table_cells({"score": 1 / 3, "start": 1, "entities": [], "labels": [], "answers": None})
    assert cells == {"score": 0.333333, "start": 1, "entities": "[]", "labels": [], "answers": None}


def test_free_names_are_unique_and_keep_those_that_are_free():
    names = ["id", "label", "input_label", "score"]
    assert free_names(names, ["label", "score", "input_score"]) == {
        "id": "id", "label": "input_input_label", "input_label": "input_label", "score": "input_input_score",
    }  # fmt: skip
