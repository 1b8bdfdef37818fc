"""Code shared by all sides of a comparison: read rows, measure time and report figures.

It only needs the standard library, so it works in every environment. Import it before anything heavy: the clock starts
here.
"""

import csv
import importlib.metadata
import json
import resource
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()
WARM_UP = 0.2  # share of the steps before the steady rate


class Clock:
    """Seconds by phase; the first phase, the imports, starts with the process."""

    def __init__(self):
        self.seconds, self._last = {}, STARTED

    def lap(self, name):
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0) + now - self._last
        self._last = now

    def move(self, seconds, origin, name):
        """Move some seconds of a phase to another phase."""
        self.seconds[origin] -= seconds
        self.seconds[name] = self.seconds.get(name, 0) + seconds


class Steps:
    """End times of training steps."""

    def __init__(self):
        self.ends = []

    def done(self):
        self.ends.append(time.perf_counter())

    def rows_per_second(self, batch_size):
        """Return the steady rate, or None after too few steps."""
        first = max(1, round(len(self.ends) * WARM_UP))
        steady = self.ends[first - 1 :]
        return (len(steady) - 1) * batch_size / (steady[-1] - steady[0]) if len(steady) > 1 else None


def read_rows(path):
    """Return texts and label numbers of a csv file; labels are numbered by name."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["label"] for row in rows})
    return [row["text"] for row in rows], [names.index(row["label"]) for row in rows]


def one_text_p50_ms(answer, texts):
    """Return the median milliseconds of a prediction of one text, after a first call."""
    answer(texts[0])
    seconds = []
    for text in texts:
        began = time.perf_counter()
        answer(text)
        seconds.append(time.perf_counter() - began)
    return round(1000 * sorted(seconds)[len(seconds) // 2], 3)


def reply_rates(write, prompts):
    """Return tokens per second of the reply to each prompt, after a warm-up reply, and the replies."""
    write(prompts[0])
    rates, written = [], []
    for prompt in prompts:
        began = time.perf_counter()
        written.append(write(prompt))
        rates.append(round(len(written[-1]) / (time.perf_counter() - began), 2))
    return rates, written


def finish(clock, packages, **figures):
    """Print the figures as the last line."""
    result = {
        **{name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()},
        "seconds": {name: round(value, 3) for name, value in clock.seconds.items()},
        "peak_memory_mb": round(peak_memory() / 2**20),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }
    print("RESULT " + json.dumps(result), flush=True)


def peak_memory():
    # On Linux, ru_maxrss includes the parent process; VmHWM does not.
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
