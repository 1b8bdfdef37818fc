"""Measure the start-up time of the commands that print help and tables: the median of 21 processes.

python benchmarks/startup.py
"""

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import keep

COMMANDS = (["--help"], ["recipes"], ["encoders", "list"])
RUNS = 21


def seconds(command):
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - began


def main():
    program = shutil.which("tfhub-ft", path=str(Path(sys.executable).parent))
    medians = {}
    for arguments in COMMANDS:
        seconds([program, *arguments])
        medians["tfhub-ft " + " ".join(arguments)] = round(
            statistics.median(seconds([program, *arguments]) for _ in range(RUNS)), 3
        )
    keep("startup", {"runs": RUNS, "median_seconds": medians})


if __name__ == "__main__":
    main()
