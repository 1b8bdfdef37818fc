"""Kill and resume training runs, and check that they equal an uninterrupted run to the last byte.

    python benchmarks/interruptions.py --kills 20

Each recipe trains on its demo rows with its default settings (spam also with a frozen encoder). Of 20 kills, 14
happen between the first checkpoint and the end of the last epoch, three before the first checkpoint, and three while
the model is scored and saved. Every second kill is SIGTERM, the others are SIGKILL. metrics.json and the predictions
on the demo rows must be equal.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import keep

TRAININGS = {
    "sentiment": ("sentiment",),
    "spam, frozen": ("spam", "--freeze", "all"),
    "multilabel": ("multilabel",),
}
PROGRAM = shutil.which("tfhub-ft", path=str(Path(sys.executable).parent))
DEMO = Path(__file__).parents[1] / "recipes" / "demo"
# The phases of seven consecutive kills.
WHEN = ("within", "within", "before", "within", "within", "after", "within")


def train(arguments, run, *options):
    command = [PROGRAM, "train", *arguments, "--output-dir", str(run), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def epochs_of(run):
    try:
        return json.loads((run / "checkpoints" / "state.json").read_text())["epochs"]
    except (OSError, ValueError):
        return []


def result_of(run):
    """Return what must be equal: the scores and the predictions on the demo rows."""
    recipe = (run / "recipe.yaml").read_text().splitlines()[0].removeprefix("recipe: ")
    (rows,) = DEMO.glob(f"{recipe}.*")
    predictions = run.parent / "predictions.jsonl"
    subprocess.run([PROGRAM, "predict", str(run), "--input", str(rows), "--output", str(predictions)], check=True)
    return (run / "metrics.json").read_bytes(), predictions.read_bytes()


def kill(process, run, number, when, epochs, chance):
    """Kill a training run at a random moment; return the phase, or None if the run had ended."""
    last = len(epochs)
    wanted = {"before": 0, "within": chance.randrange(1, last), "after": last}[when]
    while len(epochs_of(run)) < wanted or not (run / "recipe.yaml").is_file():
        if process.poll() is not None:
            return None
        time.sleep(0.005)
    time.sleep(chance.uniform(0, {"before": 4, "within": epochs[wanted - 1]["seconds"], "after": 2}[when]))
    process.send_signal(number)
    process.wait()
    return {"signal": number.name, "after_epoch": len(epochs_of(run)), "of": last, "exit_code": process.returncode}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, kills = random.Random(options.seed), []
    with tempfile.TemporaryDirectory() as folder:
        wholes = {}
        for name, arguments in TRAININGS.items():
            run = Path(folder) / f"whole-{len(wholes)}"
            if train(arguments, run).wait():
                sys.exit(f"{name}: the uninterrupted training run failed")
            wholes[name] = (epochs_of(run), result_of(run))
        while len(kills) < options.kills:
            name = list(TRAININGS)[len(kills) % len(TRAININGS)]
            epochs, expected = wholes[name]
            run, when = Path(folder) / "run", WHEN[len(kills) % len(WHEN)]
            shutil.rmtree(run, ignore_errors=True)
            number = (signal.SIGKILL, signal.SIGTERM)[len(kills) % 2]
            where = kill(train(TRAININGS[name], run), run, number, when, epochs, chance)
            if where is None or (run / "metrics.json").is_file():
                continue
            ended = train(TRAININGS[name][:1], run, "--resume").wait() == 0
            equal = ended and result_of(run) == expected
            kills.append({"training": name, **where, "equal": equal})
            print(f"{len(kills)}/{options.kills}: {kills[-1]}", flush=True)
    within = sum(1 <= each["after_epoch"] < each["of"] for each in kills)
    keep("interruptions", {"kills": kills, "within": within, "equal": sum(each["equal"] for each in kills)})


if __name__ == "__main__":
    main()
