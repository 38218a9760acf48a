"""Consumers that are killed at any moment: nothing is lost, little is repeated, what can't be handled is set aside.

Three processes of one group handle numbered entries. Each entry carries its fate: most are fine, some fail once or
twice or always, some take long, one kills whoever takes it. Meanwhile processes die by `kill -9` and are started
again. What must be true afterwards is read from the logs that the workers write (`harness.crew`) and from Redis.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest

import synapse_rs
from harness.crew import DEAD_LETTERS, GROUP, STREAM, Crew, Kind, Settings
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.crew import Life, Step
    from harness.redis_server import RedisServer

T = TypeVar("T")
KEYS = 53
NEIGHBOURS = 500
"""Entries on either side of the poison, all of them innocent."""
FATES = (
    (1000, 500, "always"),
    (1000, 250, "reject"),
    (200, 7, "fails-1"),
    (200, 107, "fails-2"),
    (500, 33, "retries-1"),
)
"""Of so many entries the one with this remainder has this fate; most others are fine."""
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Plan:
    """What is published, and how often a worker is killed."""

    entries: int
    kills: int
    slow: int
    """How many entries take long; every other one keeps its whole process waiting."""

    def fate(self, number: int) -> str:
        """What becomes of an entry; the poison is a part of its own at the end."""
        turn, rest = divmod(number, self.entries // self.slow)
        if rest == self.entries // self.slow // 2:
            return "slow" if turn % 2 else "block"
        return next((fate for every, rest, fate in FATES if number % every == rest), "ok")

    def parts(self) -> list[dict[int, str]]:
        """Numbers and fates, in one part for each kill and one for the rest."""
        size = -(-self.entries // (self.kills + 1))
        numbers = range(self.entries)
        return [{n: self.fate(n) for n in numbers[at : at + size]} for at in numbers[::size]]

    def poisoned_part(self) -> dict[int, str]:
        """The poison among its neighbours."""
        numbers = range(self.entries, self.entries + 2 * NEIGHBOURS + 1)
        return {n: "poison" if n == self.entries + NEIGHBOURS else "ok" for n in numbers}


@pytest.fixture
def plan(soak: bool) -> Plan:
    """200,000 entries where there is time, a tenth otherwise."""
    return Plan(200_000, kills=40, slow=10) if soak else Plan(20_000, kills=5, slow=2)


@pytest.fixture(params=[Kind("Python"), Kind("Rust")], ids=lambda kind: kind.name)
def crew(
    request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Crew], Crew]
) -> Crew:
    """Three workers."""
    return until_end(Crew(redis_server, request.param, tmp_path, Settings()))


@pytest.mark.timeout(1800)
def test_after_kill_9_again_and_again_every_entry_is_handled_or_a_dead_letter(
    crew: Crew, redis_server: RedisServer, plan: Plan, record_property: Callable[[str, object], None]
) -> None:
    seed = random.randrange(2**32)
    record_property("seed", seed)
    fates = run_with_kills(crew, redis_server, plan, random.Random(seed))
    deaths = run_with_poison(crew, redis_server, plan.poisoned_part())
    fates |= plan.poisoned_part()

    wait(crew, "the dead to have left the group", lambda: not crew.dead_members())
    crew.stop()
    assert crew.members() == {}, "whoever ends in order leaves the group"
    assert crew.has_finished()

    everything_is_handled_or_a_dead_letter(crew, redis_server, fates)
    nobody_is_robbed(crew)
    keys_are_in_order(crew, fates)
    assert 2 <= deaths <= crew.settings.max_deliveries + 1, "the poison kills no more often than it must"
    repeats, in_hand = only_what_was_in_hand_is_repeated(crew)
    text = f"{repeats} repeats; {in_hand} in hand at {plan.kills} kills and {deaths} deaths by poison; seed {seed}"
    print(text)  # noqa: T201  pytest -s, or -rP
    record_property("repeats", repeats)


def run_with_kills(crew: Crew, redis: RedisServer, plan: Plan, dice: random.Random) -> dict[int, str]:
    """Publishes part after part, and kills a worker at some moment of each but the last; gives all fates."""
    fates: dict[int, str] = {}
    for part in plan.parts():
        handled = crew.count("done")
        publish(redis, part)
        fates |= part
        if len(fates) == plan.entries:
            break
        enough = handled + dice.randrange(len(part) * 9 // 10)
        wait(crew, "some of the part to be handled", partial(has_done, crew, enough))
        crew.kill(dice.choice(wait(crew, "a worker without a slow entry", partial(victims, crew, fates))))
    wait(crew, "everything to be handled", crew.has_finished)
    return fates


def run_with_poison(crew: Crew, redis: RedisServer, part: dict[int, str]) -> int:
    """Publishes the poison among innocents; gives how many workers died of it."""
    lives = len(crew.lives)
    publish(redis, part)
    wait(crew, "the poison to be a dead letter", crew.has_finished)
    return len(crew.lives) - lives


def wait(crew: Crew, what: str, ask: Callable[[], T]) -> T:
    """Waits until the answer is true and gives it back; starts again who dies of poison meanwhile."""

    def tend_and_ask() -> T:
        crew.tend()
        return ask()

    return eventually(what, tend_and_ask, PATIENCE_S)


def publish(redis: RedisServer, part: dict[int, str]) -> None:
    """Puts entries on the stream, in order."""
    with synapse_rs.Publisher(redis.url, source="test") as publisher:
        events = [{"event": "work", "number": n, "key": key(n), "fate": fate} for n, fate in part.items()]
        publisher.publish_many(STREAM, events)
        publisher.flush(timeout=30)


def key(number: int) -> str:
    """The key whose entries stay in order."""
    return f"k{number * 7919 % KEYS}"


def has_done(crew: Crew, count: int) -> bool:
    """Whether the crew has handled so many."""
    return crew.count("done") >= count


def victims(crew: Crew, fates: dict[int, str]) -> list[Life]:
    """Whom to kill: who is at work, but not on a slow entry, so that the others could rob those who are."""
    return [life for life in crew.living if life.steps() and not holds_slow(life, fates)]


def holds_slow(life: Life, fates: dict[int, str]) -> bool:
    """Whether a worker is busy with a slow entry."""
    busy = Counter(life.numbers("began")) - Counter(life.numbers("done"))
    return any(fates[number] in ("slow", "block") for number in busy)


def everything_is_handled_or_a_dead_letter(crew: Crew, redis: RedisServer, fates: dict[int, str]) -> None:
    letters = [fields for _, fields in redis.entries(DEAD_LETTERS)]
    dead = Counter(int(letter["number"]) for letter in letters)
    hopeless = {number: fate for number, fate in fates.items() if fate in ("always", "reject", "poison")}
    assert dead == Counter(hopeless.keys()), "each hopeless entry is a dead letter once, and no innocent one is"
    done = {number for life in crew.lives for number in life.numbers("done")}
    assert sorted(fates.keys() - done) == sorted(hopeless), "every other entry was handled"

    entries = {int(fields["number"]): (id_, fields) for id_, fields in redis.entries(STREAM)}
    reasons = {"always": "max_deliveries", "reject": "rejected"}
    for letter in letters:
        id_, fields = entries[int(letter["number"])]
        assert fields.items() <= letter.items(), "the original fields are kept"
        origin = (letter["dlq_original_stream"], letter["dlq_original_group"], letter["dlq_original_id"])
        assert origin == (STREAM, GROUP, id_)
        assert letter["dlq_reason"] == reasons.get(fields["fate"], letter["dlq_reason"])


def nobody_is_robbed(crew: Crew) -> None:
    """An entry that somebody has begun is begun by another one only after the first has died, however long it takes."""
    holders: dict[int, Life] = {}
    for life, step in steps(crew, "began"):
        holder = holders.setdefault(step.number, life)
        if holder is not life:
            died_first = holder.died_at_ns is not None and holder.died_at_ns <= step.at_ns
            assert died_first, f"{life} began {step.number}, which {holder} had in hand"
            holders[step.number] = life


def keys_are_in_order(crew: Crew, fates: dict[int, str]) -> None:
    """Per process and key, first attempts are in order; a retrying entry holds up its key."""
    for life in crew.lives:
        last: dict[str, int] = {}
        unsettled: dict[str, set[int]] = {}
        for step in life.steps():
            of_key = unsettled.setdefault(key(step.number), set())
            if step.what == "began" and step.deliveries == 1:
                assert step.number > last.get(key(step.number), -1), f"{life}: {step} after a later one of its key"
                last[key(step.number)] = step.number
                assert not of_key, f"{life}: {step} before {of_key} of its key were settled"
            given_up = step.deliveries >= crew.settings.max_deliveries or fates[step.number] == "reject"
            is_settled = step.what == "done" or (step.what == "failed" and given_up)
            (of_key.discard if is_settled else of_key.add)(step.number)


def only_what_was_in_hand_is_repeated(crew: Crew) -> tuple[int, int]:
    """Gives how many entries were handled more than once, and how many were in hand when workers died."""
    handled_by: dict[int, Life] = {}
    repeated: Counter[Path] = Counter()
    for life, step in steps(crew, "done"):
        if earlier := handled_by.get(step.number):
            repeated[earlier.log] += 1
        handled_by[step.number] = life
    for life in crew.lives:
        assert repeated[life.log] <= life.in_hand, f"{life} had {life.in_hand} entries in hand when it died"
    return repeated.total(), sum(life.in_hand for life in crew.lives)


def steps(crew: Crew, what: str) -> list[tuple[Life, Step]]:
    """All steps of one sort, in the order of time."""
    found = [(life, step) for life in crew.lives for step in life.steps() if step.what == what]
    return sorted(found, key=lambda pair: pair[1].at_ns)
