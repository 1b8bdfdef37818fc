import pytest

from tfhub_ft.training import launch as launching
from tfhub_ft.training.launch import launch
from tfhub_ft.utils.errors import InputError


@pytest.fixture
def program(monkeypatch):
    """Has workers run other Python code than a training."""
    return lambda code: monkeypatch.setattr(launching, "PROGRAM", code)


ARGUMENTS = ["train", "sentiment", "--output-dir", "runs/two"]


def test_each_worker_knows_its_place_and_its_gpus(program, monkeypatch, capfd):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    program(
        "import os, sys, json; told = json.loads(os.environ['TF_CONFIG']);"
        "gpus = os.environ['CUDA_VISIBLE_DEVICES'];"
        "print(told['task']['index'], len(told['cluster']['worker']), gpus, *sys.argv[1:], file=sys.stderr)"
    )
    assert launch(ARGUMENTS, 2) == 0
    arguments = "train sentiment --output-dir runs/two --strategy multi-worker"
    said = sorted(capfd.readouterr().err.splitlines())
    assert said == [f"[0] 0 2 4,6 {arguments}", f"[1] 1 2 5 {arguments}"]


def test_where_one_fails_the_others_are_ended_and_its_code_is_left(program):
    program(
        "import os, sys, time; worker = '\"index\": 1' in os.environ['TF_CONFIG'];"
        "sys.exit(7) if worker else time.sleep(100)"
    )
    assert launch(ARGUMENTS, 3) == 7


def test_a_worker_that_is_killed_is_a_failure(program):
    program("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert launch(ARGUMENTS, 1) == 137


def test_what_the_first_one_answers_is_the_answer(program, capfd):
    program("print('done')")
    assert launch(ARGUMENTS, 2) == 0
    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("done\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "launch starts trainings"), (["predict"], "launch starts"), (["train", "a"], "--output-dir")],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        launch(arguments, 2)


def test_more_workers_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(InputError, match="--workers 2: there are 1 GPUs"):
        launch(ARGUMENTS, 2)
