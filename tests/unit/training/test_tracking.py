from types import SimpleNamespace

import pytest

from tfhub_ft.training.tracking import Tracker, WandbTracker, make_tracker


def test_make_tracker_without_a_name_returns_the_base_class():
    assert type(make_tracker(None)) is Tracker


@pytest.fixture
def tracker(monkeypatch):
    """A tracker whose service fails at the second call."""
    logged = []

    def log(numbers, step):
        if logged:
            raise ConnectionError("gone")
        logged.append((numbers, step))

    monkeypatch.setattr(WandbTracker, "_begin", lambda *arguments: "identifier")
    tracker = WandbTracker()
    tracker.run, tracker.logged = SimpleNamespace(log=log), logged
    return tracker


def test_tracker_ignores_a_service_that_is_lost(tracker, capsys):
    assert tracker.begin("sentiment", "one", {}) == {"wandb": "identifier"}
    for epoch in range(3):
        tracker.on_epoch_end(epoch, {"loss": 0.5})
    assert tracker.logged == [({"loss": 0.5}, 1)]
    assert capsys.readouterr().err == "Warning: --track wandb: gone; training continues without it\n"
