"""Events that bear a number, so that Redis can be asked whether all are there and in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inference import EVENT, STREAM

if TYPE_CHECKING:
    import redis

    import synapse_rs

PAGE = 2_000
COUNT_ON = """
local expected = tonumber(ARGV[2])
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[3])
for _, entry in ipairs(entries) do
  local number = 'none'
  for place = 1, #entry[2], 2 do
    if entry[2][place] == 'number' then number = entry[2][place + 1] end
  end
  if tonumber(number) ~= expected then return {entry[1], expected, number} end
  expected = expected + 1
end
return {#entries > 0 and '(' .. entries[#entries][1] or '', expected}
"""
"""Reads a page of the stream; gives where the next begins and which number it begins with, or who is out of place."""


def publish(publisher: synapse_rs.Publisher, numbers: range) -> None:
    """Publishes an event for each number."""
    event: dict[str, Any] = dict(EVENT)
    for number in numbers:
        event["number"] = number
        publisher.publish(STREAM, event)


def check_all(client: redis.Redis, events: int) -> None:
    """Raises unless the stream holds the events of these numbers from 0 on, each once and in order."""
    count_on = client.register_script(COUNT_ON)
    after, expected = "-", 0
    while after:
        after, expected, *found = count_on(keys=[STREAM], args=[after, expected, PAGE])
        if found:
            raise RuntimeError(f"entry {after} of {STREAM} bears the number {found[0]}, expected {expected}")
    if expected != events:
        raise RuntimeError(f"{STREAM} holds {expected} events, expected {events}")
