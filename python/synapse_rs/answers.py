"""What a handler can say of an event besides returning, by raising."""

import math


class Retry(Exception):
    """Deliver the event again after so many seconds (by default a delay that doubles each time).

    It counts as a failed delivery: at the consumer's `max_deliveries` the event goes to the dead letters.

    Raises:
        ValueError: `after` is no number of seconds.
    """

    def __init__(self, after: float | None = None, reason: str = "retry") -> None:
        super().__init__(reason)
        self.after = None if after is None else _seconds(after)
        self.reason = str(reason)


class Reject(Exception):
    """The event will never work: it goes to the dead letters, with the reason (a text, or the error that says so)."""

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = describe(reason) if isinstance(reason, BaseException) else str(reason)


class Unavailable(Exception):
    """What the handler needs is not there, for example its database.

    No event is handed out for so many seconds, then this one is tried again. It counts as no attempt.

    Raises:
        ValueError: `after` is no number of seconds.
    """

    def __init__(self, after: float, reason: str = "unavailable") -> None:
        super().__init__(reason)
        self.after = _seconds(after)
        self.reason = str(reason)


def describe(error: BaseException) -> str:
    """An error in one line, whatever it makes of being asked."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # an error's own __str__
        text = type(error).__name__
    return printable(text)


def printable(text: str) -> str:
    """The text without what can't be written as UTF-8: lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _seconds(after: object) -> float:
    if isinstance(after, bool) or not isinstance(after, int | float) or not math.isfinite(after) or after < 0:
        raise ValueError(f"after is {after!r}, expected seconds from 0")
    return float(after)
