"""How often a process of tfhub_ft looks for cycles of garbage."""

import subprocess
import sys

SCRIPT = """
import atexit, gc

atexit.register(lambda: print(gc.get_freeze_count() > 1000))
from tfhub_ft.memory import collect_seldom

before = gc.get_threshold()[0]
collect_seldom()
print(gc.isenabled(), gc.get_threshold()[0] > before, gc.get_freeze_count())
"""


def test_garbage_is_looked_for_less_often_and_not_at_the_end():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "0", "True"]
