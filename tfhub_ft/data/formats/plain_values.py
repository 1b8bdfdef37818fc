"""Turn values of NumPy, pandas, TensorFlow and Arrow into those of JSON."""

import datetime
import re
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

_ZEROS = re.compile(r"(\.\d*?)0+(?=Z?$)")


def plain_value(value: Any) -> Any:
    """Return a value as an object of JSON if it is one, otherwise unchanged.

    Missing values of pandas are None or NaN. Dates and times are texts such as "2026-01-31 12:00:00", in UTC if they
    have a time zone, and so are bytes that are UTF-8.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    for kind, convert in _CONVERSIONS.items():
        if isinstance(value, kind):
            return convert(value)
    if is_numpy_time(value):
        return _plain_numpy_time(value)
    if method := list_method(value):
        converted = getattr(value, method)()
        return plain_value(converted) if converted is not value else value
    return value


def list_method(array: object) -> str | None:
    """Return the name of the method with which an array becomes a list, or a scalar of NumPy a Python value."""
    if hasattr(array, "columns") or isinstance(array, type):
        return None
    return next((name for name in ("to_pylist", "to_list", "tolist", "numpy") if hasattr(array, name)), None)


def is_numpy_time(value: object) -> bool:
    """Return whether a value is a date, a time or a duration of NumPy, or an array of these."""
    return getattr(getattr(value, "dtype", None), "kind", None) in ("m", "M")


def shorten_time(text: str) -> str:
    """Return the text of a time without zeros at the end of its fraction."""
    return _ZEROS.sub(r"\1", text).replace(".Z", "Z").removesuffix(".")


def _plain_numpy_time(value: Any) -> Any:
    """Return a date or a time of NumPy, or an array of these; as integers, nanoseconds would lose their unit."""
    if value.shape:
        return [*map(plain_value, value)]
    is_day = value.dtype.name.endswith(("[Y]", "[M]", "[W]", "[D]"))
    unit = "D" if is_day and value.dtype.kind == "M" else "us"
    return plain_value(value.astype(f"{value.dtype.kind}8[{unit}]").item())


def _time_text(value: datetime.datetime) -> str:
    if value.tzinfo is None:
        return shorten_time(value.isoformat(" "))
    return shorten_time(value.astimezone(datetime.timezone.utc).isoformat(" ").replace("+00:00", "Z"))


def _decode(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


_CONVERSIONS: dict[Any, Callable[[Any], Any]] = {
    str: str.__str__,
    bytes: _decode,
    bool: bool,
    int: int.__int__,
    float: float.__float__,
    Decimal: lambda value: int(value) if value.as_tuple().exponent == 0 else float(value),
    Mapping: lambda value: {str(plain_value(name)): plain_value(each) for name, each in value.items()},
    list | tuple: lambda value: [*map(plain_value, value)],
    set | frozenset: lambda value: sorted(map(plain_value, value), key=str),
    datetime.datetime: _time_text,
    datetime.date: str,
    datetime.time: lambda value: shorten_time(value.isoformat()),
    datetime.timedelta: datetime.timedelta.__str__,
    uuid.UUID: str,
}
