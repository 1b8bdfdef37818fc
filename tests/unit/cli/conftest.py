"""What tests of commands share."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], SimpleNamespace]:
    """Call it with a function's dotted name and a result: the function returns that, and records its arguments."""

    def replaced(name: str, result: Any) -> SimpleNamespace:
        call = SimpleNamespace(args=None, kwargs=None)

        def function(*args: Any, **kwargs: Any) -> Any:
            call.args, call.kwargs = args, kwargs
            return result

        monkeypatch.setattr(name, function)
        return call

    return replaced
