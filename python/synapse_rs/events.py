"""Events as handlers get them."""

from typing import Any, Protocol


class _Settling(Protocol):
    """Where an event of a consumer group says what became of it."""

    def ack(self, stream: str, entry: str, deliveries: int) -> None: ...

    def fail(self, stream: str, entry: str, deliveries: int, reason: str, delay: float | None = None) -> None: ...

    def reject(self, stream: str, entry: str, deliveries: int, reason: str) -> None: ...

    def release(self, stream: str, entry: str, deliveries: int) -> None: ...


class Event(dict[str, Any]):
    """An event's fields, with where it comes from.

    Attributes:
        stream: The stream it is on.
        id: Its entry, for example `1795424694440-0`.
        deliveries: How often it was delivered, this time included; 1 for events that were tailed.
    """

    __slots__ = ("_settling", "deliveries", "id", "settled", "stream")

    def __init__(
        self,
        fields: dict[str, Any],
        *,
        stream: str,
        id: str,  # noqa: A002
        deliveries: int = 1,
        settling: _Settling | None = None,
    ) -> None:
        super().__init__(fields)
        self.stream = stream
        self.id = id
        self.deliveries = deliveries
        self.settled = settling is None
        self._settling = settling

    @property
    def name(self) -> str:
        """The event's name, for example `inference-complete`."""
        return str(self.get("event", ""))

    async def ack(self) -> None:
        """It was handled."""
        self._acknowledge()

    async def nack(self, delay: float | None = None, reason: str = "nack") -> None:
        """It failed: it is delivered again after `delay` seconds, by default after a delay that doubles each time.

        At the consumer's `max_deliveries` it goes to the dead letters.
        """
        if settling := self._settle_once():
            settling.fail(self.stream, self.id, self.deliveries, reason, delay)

    async def reject(self, reason: str) -> None:
        """It will never work: it goes to the dead letters."""
        if settling := self._settle_once():
            settling.reject(self.stream, self.id, self.deliveries, reason)

    def _acknowledge(self) -> None:
        if settling := self._settle_once():
            settling.ack(self.stream, self.id, self.deliveries)

    def _release(self) -> None:
        if settling := self._settle_once():
            settling.release(self.stream, self.id, self.deliveries)

    def _settle_once(self) -> _Settling | None:
        if self.settled:
            return None
        self.settled = True
        return self._settling

    def __repr__(self) -> str:
        return f"<Event {self.name} {self.stream} {self.id} {super().__repr__()}>"
