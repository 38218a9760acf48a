"""Events as handlers get them."""

from collections.abc import Mapping
from typing import Any, Self

from synapse_rs import _core
from synapse_rs.answers import printable


class Event(dict[str, Any]):
    """An event's fields, with where it comes from and where to say what became of it.

    One that was read from a consumer group has to be settled once: `ack`, `nack` or `reject`. The loops of
    `Consumer` do it for those who don't.
    """

    __slots__ = ("_delivery",)

    _delivery: _core.Delivery

    @classmethod
    def of(cls, fields: Mapping[str, Any], *, stream: str, id: str = "0-1", deliveries: int = 1) -> Self:  # noqa: A002
        """An event that nobody waits to hear of, to try a handler with."""
        event = cls(fields)
        event._delivery = _core.Delivery(stream, id, deliveries)
        return event

    @property
    def name(self) -> str:
        """The event's name, for example `inference-complete`."""
        return str(self.get("event", ""))

    @property
    def stream(self) -> str:
        """The stream it is on."""
        return self._delivery.stream

    @property
    def id(self) -> str:
        """Its entry, for example `1795424694440-0`."""
        return self._delivery.id

    @property
    def deliveries(self) -> int:
        """How often it was delivered, this time included; 1 for events that were tailed."""
        return self._delivery.deliveries

    @property
    def settled(self) -> bool:
        """Whether it was said what became of it, or nobody waits to hear."""
        return self._delivery.is_settled

    async def ack(self) -> None:
        """It was handled."""
        self._delivery.ack()

    async def nack(self, delay: float | None = None, reason: str = "nack") -> None:
        """It failed: it is delivered again after `delay` seconds, by default after a delay that doubles each time.

        At the consumer's `max_deliveries` it goes to the dead letters, with the reason.
        """
        self._delivery.fail(printable(reason), delay)

    async def reject(self, reason: str) -> None:
        """It will never work: it goes to the dead letters."""
        self._delivery.reject(printable(reason))

    def __repr__(self) -> str:
        return f"<Event {self.name} {self.stream} {self.id} {super().__repr__()}>"
