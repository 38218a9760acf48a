"""What a consumer hands out: own classes, what is wanted, everything to everyone."""

import asyncio
import dataclasses
from typing import Any

import pytest

import synapse_rs
from harness.consuming import STREAM, consumer, dead, pending, publish
from harness.redis_server import RedisServer
from harness.wait import eventually


@dataclasses.dataclass
class Ready:
    model_name: str
    version: str
    extra: int = 0

    def __post_init__(self) -> None:
        if self.version == "1":
            raise ValueError("not this one")


class Validated:
    """As pydantic's models are built."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    @classmethod
    def model_validate(cls, fields: dict[str, Any]) -> "Validated":
        return cls(fields)


async def test_own_classes_are_built_and_what_they_refuse_is_a_dead_letter(redis_server: RedisServer) -> None:
    publish(redis_server, range(3))
    found: list[Ready] = []
    async with synapse_rs.Consumer(redis_server.url, group="g", streams=[STREAM], decode_as=Ready) as events:
        async for ready in events:
            found.append(ready)
            if len(found) == 2:
                break
    assert found == [Ready("m0", "0"), Ready("m2", "2")]
    assert dead(redis_server) == {"1": ("undecodable", "ValueError: not this one")}

    async with synapse_rs.Consumer(redis_server.url, group="h", streams=[STREAM], decode_as=Validated) as models:
        async for batch in models.batches():
            assert [model.fields["version"] for model in batch] == ["0", "1", "2"]
            batch.fail(batch[1], "once more")
            with pytest.raises(ValueError, match="not of this batch"):
                batch.fail(Validated({}), "never seen")
            break
    with pytest.raises(ValueError, match="decode_as"):
        synapse_rs.Consumer(group="g", streams=["s"], decode_as=3)  # type: ignore[arg-type]


async def test_only_what_is_wanted_is_handed_out_and_the_rest_is_acknowledged(redis_server: RedisServer) -> None:
    publish(redis_server, range(9))
    async with consumer(redis_server, where={"model_name": ["m1", "m9"]}) as events:
        found = []
        async for event in events:
            found.append(event["version"])
            if len(found) == 3:
                await event.ack()
                break
        await asyncio.to_thread(eventually, "all is acknowledged", lambda: pending(redis_server) == 0)
        assert found == ["1", "4", "7"]
        stats = events.stats()
        assert (stats["delivered"], stats["acknowledged"], stats["in_hand"]) == (3, 9, 0)


async def test_every_broadcast_consumer_gets_everything(redis_server: RedisServer) -> None:
    publish(redis_server, range(4))

    async def versions(**settings: Any) -> tuple[list[str], dict[str, str]]:
        async with synapse_rs.Consumer(redis_server.url, streams=[STREAM], broadcast=True, **settings) as events:
            found = []
            async for event in events:
                found.append(event["version"])
                if len(found) == 4:
                    await event.ack()
                    return found, events.positions()
        raise AssertionError

    everything = [str(n) for n in range(4)]
    found, positions = await versions()
    assert found == everything
    assert (await versions(group="left"))[0] == everything
    publish(redis_server, range(4, 8))
    assert (await versions(group="left"))[0] == [str(n) for n in range(4, 8)]
    assert (await versions(start=positions[STREAM]))[0] == [str(n) for n in range(4, 8)]
    with redis_server.client() as client:
        assert client.xinfo_groups(STREAM) == []
