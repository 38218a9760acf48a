"""What a handler can say of an event besides returning, by raising."""


class Retry(Exception):
    """Deliver the event again after so many seconds (by default a delay that doubles each time).

    It counts as a failed delivery: at the consumer's `max_deliveries` the event goes to the dead letters.
    """

    def __init__(self, after: float | None = None, reason: str = "retry") -> None:
        super().__init__(reason)
        self.after = after
        self.reason = reason


class Reject(Exception):
    """The event will never work: it goes to the dead letters, with the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unavailable(Exception):
    """What the handler needs is not there, for example its database.

    No event is handed out for so many seconds, then this one is tried again. It counts as no attempt.
    """

    def __init__(self, after: float, reason: str = "unavailable") -> None:
        super().__init__(reason)
        self.after = after
        self.reason = reason
