"""Building a reader's own classes from events."""

import dataclasses
from collections.abc import Callable
from typing import Any


def decoder(decode_as: Callable[..., Any] | None) -> Callable[[dict[str, Any]], Any] | None:
    """How to build what `decode_as` stands for from an event's fields; None to hand over the events themselves.

    A dataclass gets the fields that it has; a class with `model_validate` (pydantic) and a function get all.

    Raises:
        ValueError: It is nothing that builds anything.
    """
    if decode_as is None:
        return None
    validate = getattr(decode_as, "model_validate", None)
    if validate is not None:
        return lambda event: validate(dict(event))
    if dataclasses.is_dataclass(decode_as) and isinstance(decode_as, type):
        build: Callable[..., Any] = decode_as
        names = {field.name for field in dataclasses.fields(decode_as) if field.init}
        return lambda event: build(**{name: value for name, value in event.items() if name in names})
    if callable(decode_as):
        return decode_as
    raise ValueError(
        f"decode_as is {decode_as!r}, expected a dataclass, a class with model_validate, or a function of the fields"
    )
