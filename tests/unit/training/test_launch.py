import pytest

from tfhub_ft.training import launch as launching
from tfhub_ft.training.launch import launch
from tfhub_ft.utils.errors import InputError


@pytest.fixture
def program(monkeypatch):
    """Set the Python code that workers run instead of a training."""
    return lambda code: monkeypatch.setattr(launching, "PROGRAM", code)


ARGUMENTS = ["train", "sentiment", "--output-dir", "runs/two"]


def test_launch_sets_the_index_and_gpus_of_workers(program, monkeypatch, capfd):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    program(
        "import os, sys, json; config = json.loads(os.environ['TF_CONFIG']);"
        "gpus = os.environ['CUDA_VISIBLE_DEVICES'];"
        "print(config['task']['index'], len(config['cluster']['worker']), gpus, *sys.argv[1:], file=sys.stderr)"
    )
    assert launch(ARGUMENTS, 2) == 0
    arguments = "train sentiment --output-dir runs/two --strategy multi-worker"
    lines = sorted(capfd.readouterr().err.splitlines())
    assert lines == [f"[0] 0 2 4,6 {arguments}", f"[1] 1 2 5 {arguments}"]


def test_launch_returns_the_exit_code_of_a_failed_worker(program):
    program(
        "import os, sys, time; worker = '\"index\": 1' in os.environ['TF_CONFIG'];"
        "sys.exit(7) if worker else time.sleep(100)"
    )
    assert launch(ARGUMENTS, 3) == 7


def test_launch_fails_when_a_worker_is_killed(program):
    program("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert launch(ARGUMENTS, 1) == 137


def test_launch_prints_the_output_of_the_first_worker(program, capfd):
    program("print('done')")
    assert launch(ARGUMENTS, 2) == 0
    output = capfd.readouterr()
    assert (output.out, output.err) == ("done\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "launch: needs a training command"),
        (["predict"], "launch: needs a training"),
        (["train", "a"], "--output-dir"),
    ],
)
def test_launch_refuses_other_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        launch(arguments, 2)


def test_launch_refuses_more_workers_than_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(InputError, match="--workers 2: each worker needs a GPU, but there are 1"):
        launch(ARGUMENTS, 2)
