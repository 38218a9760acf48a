"""The scenario of `tests/data/gateway-scenario.json` as every client sees it, each act before a gateway of its own.

What the words of a step do is said by the method of `Stage` that has the step's name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import synapse_rs
from harness.audience import SOCKET_IO_NAMES
from harness.gateway import Gateway
from harness.guests import GUESTS
from harness.tokens import SECRET, token
from harness.wait import eventually
from harness.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.guests import Guest, Kind
    from harness.redis_server import RedisServer

SCENARIO = json.loads((Path(__file__).parents[1] / "data" / "gateway-scenario.json").read_text())
SETTINGS = {"JWT_SECRET": SECRET, "SSE_RETRY": "100ms", "SHUTDOWN_GRACE": "1s"}
ADDED = {"id", "stream", "event_id", "source", "timestamp"}
"""The fields that a payload has besides what was published."""
SEEN: dict[str, Callable[[Guest], bool]] = {
    "always": lambda _: True,
    "never": lambda _: False,
    "by who resumes": lambda guest: guest.resumes,
    "by who passes gaps": lambda guest: guest.resumes and guest.passes_gaps,
}


def token_of(who: str) -> str | None:
    """The token of somebody in the scenario."""
    if who == "nobody":
        return None
    claims = dict(SCENARIO["tokens"][who])
    forged = claims.pop("forged", False)
    signed = token(claims.pop("user"), **claims)
    # Another signature: the first character of it is not its padding.
    head, signature = signed.rsplit(".", 1)
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}" if forged else signed


class Stage:
    """Where an act is played: a Redis, a gateway, the wire to it, and one client at a time."""

    def __init__(
        self, redis: RedisServer, kind: Kind, settings: dict[str, str], until_end: Callable[[Any], Any]
    ) -> None:
        """Sets it up."""
        self.redis, self.kind, self.settings, self.until_end = redis, kind, {**SETTINGS, **settings}, until_end
        self.publisher: synapse_rs.Publisher = until_end(synapse_rs.Publisher(redis.url, source="scenario"))
        self.published: dict[tuple[str, str], dict[str, Any]] = {}
        self.gateway, self.read_elsewhere = self._open()
        self.wire: Wire = until_end(Wire(self.gateway.port))
        self.guest: Guest | None = None
        self.arrivals = 0
        self.is_away = False
        self.expected: dict[str, list[str]] = {}

    def play(self, step: dict[str, Any]) -> None:
        """Does what a step says: the method of its first word, with the rest."""
        verb, object_ = next(iter(step.items()))
        getattr(self, verb)(object_, **{word: value for word, value in step.items() if word != verb})

    def refused(self, who: str, code: str) -> None:
        """Somebody is not let in, and told so by this code where the protocol can."""
        guest = self.kind(self.wire, token_of(who), {})
        with guest.client as client:
            assert client.refusal() in {code, None}
            assert client.recovered() == [], "it was let in"

    def connect(self, who: str, subscription: dict[str, Any] | None = None) -> None:
        """Somebody comes in the place of who was there, and sees what comes from now on."""
        if self.guest is not None:
            self.guest.client.close()
        self.guest = self.kind(self.wire, token_of(who), subscription or {})
        self.until_end(self.guest.client)
        self.guest.arrive()
        self.arrivals, self.is_away, self.expected = 1, False, {}

    def publish(self, stream: str, events: list[dict[str, Any]], times: int = 1, seen: str = "always") -> None:
        """Events come on a stream, so many times over; who sees them does as soon as it is there."""
        numbered = [{**event, "number": number} for number in range(times) for event in events]
        receipts = [self.publisher.send(stream, event) for event in numbered]
        ids = [str(receipt.result(timeout=30)) for receipt in receipts]
        self.published.update(((stream, id_), event) for id_, event in zip(ids, numbered, strict=True))
        if SEEN[seen](self._present()):
            self.expected.setdefault(stream, []).extend(ids)
        if not self.is_away:
            self._settle()

    def join(self, user: str, code: str) -> None:
        """It asks for a user's room; this is the code of the error, if there are rooms to ask for."""
        assert self._present().join(user) in {code, None}

    def cut(self, how: str) -> None:
        """The network is gone until the client is `back`."""
        del how
        self._go_away(self.wire.cut)

    def leave(self, why: str) -> None:
        """The gateway leaves, and says why where the protocol can; for who comes `back` there is another."""
        gateway = self.gateway
        self.gateway, self.read_elsewhere = self._open()
        assert self._go_away(gateway.stop) == 0, gateway.tail()
        guest = self._present()
        assert guest.client.farewells() == ([why] if guest.hears_why else [])
        assert all(line.get("comesBack", True) for line in guest.client.said)

    def back(self, recovered: bool) -> None:
        """The client finds its way again, and is told whether it gets all that it missed."""
        guest = self._present()
        self._wait_for_the_gateway()
        self.wire.lead_to(self.gateway.port)
        self.arrivals += 1
        guest.arrive(self.arrivals)
        assert guest.client.recovered()[self.arrivals - 1] is (recovered and guest.resumes)
        self.is_away = False
        self._settle()

    def trim(self, stream: str, to: int) -> None:
        """All but the last of a stream's entries are gone, some time after the gateway has read them."""
        self._wait_for_the_gateway()
        with self.redis.client() as redis:
            redis.xtrim(stream, maxlen=to, approximate=False)

    def _open(self) -> tuple[Gateway, float]:
        """A gateway, and how many events of what is published it has not read as they came."""
        gateway: Gateway = self.until_end(Gateway(self.redis.url, self.settings))
        return gateway, len(self.published) - gateway.metric("stream_events")

    def _wait_for_the_gateway(self) -> None:
        """All that is published is the past for those who come from now on."""

        def has_read() -> bool:
            return self.gateway.metric("stream_events") + self.read_elsewhere >= len(self.published)

        eventually("the gateway to have read all that is published", has_read)

    def _present(self) -> Guest:
        assert self.guest is not None, "nobody is connected"
        return self.guest

    def _go_away(self, end: Callable[[], int]) -> int:
        """Ends the connection and lets nobody in until it has seen so; what `end` gives."""
        client = self._present().client

        def ends(said: list[dict[str, Any]]) -> int:
            return sum(line["is"] == "disconnected" for line in said)

        before = ends(client.said)
        self.wire.lead_to()
        ended = end()
        self.is_away = True
        client.wait_for("it to see that it is cut off", lambda said: ends(said) > before)
        return ended

    def _settle(self) -> None:
        """It sees what it is to see, each once, in order and as it was published, and nothing else."""
        self._wait_for_the_gateway()
        guest = self._present()
        guest.client.wait_for_ids([id_ for ids in self.expected.values() for id_ in ids])
        assert guest.client.ids() == self.expected
        for event in guest.client.events():
            published = self.published[event["stream"], event["id"]]
            name = SOCKET_IO_NAMES[event["stream"]] if guest.names_streams else published["event"]
            assert event["_name"] == name
            assert {field: event[field] for field in event.keys() - ADDED - {"_name"}} == published
            assert event.keys() >= ADDED


@pytest.mark.parametrize("act", SCENARIO["acts"], ids=[act["act"] for act in SCENARIO["acts"]])
@pytest.mark.parametrize("kind", GUESTS.values(), ids=GUESTS.keys())
def test_every_client_sees_the_same(
    redis_server: RedisServer, until_end: Callable[[Any], Any], kind: Kind, act: dict[str, Any]
) -> None:
    stage = Stage(redis_server, kind, act.get("settings", {}), until_end)
    for step in act["steps"]:
        try:
            stage.play(step)
        except Exception as error:
            error.add_note(f"at the step {json.dumps(step, ensure_ascii=False)}")
            raise
