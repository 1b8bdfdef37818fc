import pytest

from tfhub_ft.distillation.distill import distill
from tfhub_ft.run import Run
from tfhub_ft.settings import TextSettings
from tfhub_ft.utils.errors import InputError


def unfinished_run(folder, recipe):
    return Run.create(folder / "run", recipe, TextSettings(), ["a", "b"], {})


@pytest.mark.parametrize("student", ["layers:0", "layers:", "layers:two"])
def test_distill_refuses_an_invalid_number_of_layers(tmp_path, student):
    with pytest.raises(InputError, match=f"--student {student}: must be layers:N with N above 0"):
        distill(unfinished_run(tmp_path, "sentiment"), student=student, output_dir=tmp_path / "student")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [("sentiment", "its training did not finish"), ("ner", "has the task entities, which cannot be distilled")],
)
def test_distill_refuses_a_run_that_cannot_teach(tmp_path, recipe, message):
    with pytest.raises(InputError, match=message):
        distill(unfinished_run(tmp_path, recipe), student="layers:1", output_dir=tmp_path / "student")
    assert not (tmp_path / "student").exists()
