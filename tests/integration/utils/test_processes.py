import os
import subprocess
import sys

import pytest

FORKED = """
import os, signal, sys
from tfhub_ft.utils.errors import InputError
from tfhub_ft.inference.predict import open_predictor, predict

def label(predictor):
    return predict(predictor, "good film")[0]["label"]

def in_fork(predictor):
    if not os.fork():
        signal.alarm(120)
        try:
            print(label(predictor), flush=True)
        except InputError as error:
            print(error, flush=True)
        os._exit(0)
    print(os.wait()[1], flush=True)

predictor = open_predictor(sys.argv[1])
in_fork(predictor)
print(label(predictor), flush=True)
in_fork(predictor)
in_fork(open_predictor(sys.argv[1]))
print(label(predictor), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.parametrize("kind", ["tiny_run", "tiny_export"])
def test_predictors_work_or_raise_after_fork(kind, request):
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(request.getfixturevalue(kind))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    lines = done.stdout.splitlines()
    label, error = lines[0], lines[3]
    assert "this process was forked after TensorFlow started, which hangs in it; load and call" in error
    assert lines == [label, "0", label, error, "0", error, "0", label], done.stderr
    assert label in ("negative", "positive")
