"""Fixtures shared by the tests of commands."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], SimpleNamespace]:
    """Return a function that replaces a function by its dotted name, and records the arguments of its call."""

    def replaced(name: str, result: Any) -> SimpleNamespace:
        call = SimpleNamespace(args=None, kwargs=None)

        def function(*args: Any, **kwargs: Any) -> Any:
            call.args, call.kwargs = args, kwargs
            return result

        monkeypatch.setattr(name, function)
        return call

    return replaced
