"""Objects give up their fields the short way only where that is what `model_dump()` and `asdict()` would give."""

import dataclasses
import datetime
import enum
import functools
import json
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import synapse_rs
from harness.events import fields_on
from harness.redis_server import RedisServer
from synapse_rs import _shapes

STREAM = "things"
ADDED = {"timestamp", "source", "event_id", "traceparent"}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def publisher(server: RedisServer) -> Iterator[synapse_rs.Publisher]:
    with synapse_rs.Publisher(server.url) as publisher:
        yield publisher


def written(server: RedisServer, publisher: synapse_rs.Publisher, event: Any) -> dict[str, str] | str:
    """What stands on the stream for an event, or why nothing does."""
    with server.client() as client:
        client.delete(STREAM)
    try:
        publisher.publish(STREAM, event)
    except synapse_rs.InvalidEvent as error:
        # Without the value: a copy of a set may show its items in another order.
        return str(error).split(" is ", maxsplit=1)[0]
    publisher.flush()
    (fields,) = fields_on(server, STREAM)
    return {name: value for name, value in fields.items() if name not in ADDED}


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Point(NamedTuple):
    x: int
    y: float


@dataclasses.dataclass
class Tag:
    name: str
    when: datetime.date | None = None
    points: list[Point] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Slots:
    event: str
    tag: Tag
    tags: list[Any]


@dataclasses.dataclass
class Plain:
    event: str
    tag: Tag
    tags: list[Any]


class Inner(pydantic.BaseModel):
    n: int = 1
    colour: Colour = Colour.RED


class Model(pydantic.BaseModel):
    event: str
    name: str = "m"
    ratio: float = 0.5
    count: int | None = None
    when: datetime.datetime | None = None
    identity: uuid.UUID | None = None
    colour: Colour = Colour.RED
    other: Colour = Colour.RED
    size: Size = Size.BIG
    kind: Literal["a", "b"] = "a"
    data: dict[str, Any] = {}
    items: list[int | str] = []
    positive: Annotated[int, pydantic.Field(gt=0, alias="p")] = 1

    @pydantic.field_validator("name")
    @classmethod
    def stripped(cls, name: str) -> str:
        return name.strip()

    @pydantic.model_validator(mode="after")
    def checked(self) -> "Model":
        return self


class Open(Model):
    model_config = pydantic.ConfigDict(extra="allow")


class Nested(pydantic.BaseModel):
    event: str
    inner: Inner = Inner()
    inners: list[Inner] = []


class ByAlias(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(serialize_by_alias=True)
    event: str
    n: int = pydantic.Field(1, serialization_alias="number")


class Computed(pydantic.BaseModel):
    event: str

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def length(self) -> int:
        return len(self.event)


class Excluding(pydantic.BaseModel):
    event: str
    secret: str = pydantic.Field("x", exclude=True)


class Serializing(pydantic.BaseModel):
    event: str
    n: Annotated[int, pydantic.PlainSerializer(lambda n: n * 2)] = 1
    m: int = 1

    @pydantic.field_serializer("m")
    def more(self, m: int) -> int:
        return m + 1


class Wrapped(pydantic.BaseModel):
    event: str

    @pydantic.model_serializer
    def all(self) -> dict[str, Any]:
        return {"event": self.event, "more": 1}


class Overriding(pydantic.BaseModel):
    event: str

    def model_dump(self, **_: Any) -> dict[str, Any]:
        return {"event": self.event, "mine": True}


class Url(pydantic.BaseModel):
    event: str
    url: pydantic.HttpUrl = pydantic.HttpUrl("http://a/")


class Tree(pydantic.BaseModel):
    event: str
    children: list["Tree"] = []


class Caching(pydantic.BaseModel):
    event: str

    @functools.cached_property
    def length(self) -> int:
        return len(self.event)


SHORT = [Model, Open, Caching]
ASKED: list[Any] = [Nested, ByAlias, Computed, Excluding, Serializing, Wrapped, Overriding, Url, Tree]


@pytest.mark.parametrize("model", SHORT)
def test_a_model_that_only_copies_is_not_asked(model: type) -> None:
    assert _shapes.shape(model)[0] in {"dict", "extended"}


@pytest.mark.parametrize("model", ASKED)
def test_a_model_with_a_say_in_it_is_asked(model: type) -> None:
    assert _shapes.shape(model) == ("dump", ())


numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=8)
objects = st.sampled_from([Colour.RED, Size.BIG, Point(1, 2.0), Tag("t"), Inner(n=2)])
special = st.dates() | st.datetimes() | st.uuids() | objects
refused = st.decimals(allow_nan=False) | st.binary(max_size=2) | st.sets(st.integers(), max_size=2)
names = st.text(max_size=4)
anything = st.recursive(
    scalars | special | refused,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
models = st.one_of(
    st.builds(
        Model,
        event=st.just("thing"),
        name=st.text(max_size=5),
        count=st.none() | st.integers(0, 9),
        when=st.none() | st.datetimes(),
        identity=st.none() | st.uuids(),
        data=st.dictionaries(names, anything, max_size=3),
        items=st.lists(st.integers(-5, 5) | st.text(max_size=3), max_size=3),
    ),
    st.dictionaries(st.from_regex(r"\Aextra_\w{1,3}\Z"), anything, max_size=3).map(
        lambda more: Open.model_validate({"event": "thing", **more})
    ),
    st.builds(Nested, event=st.just("thing"), inners=st.lists(st.builds(Inner, n=st.integers(0, 9)), max_size=2)),
    st.sampled_from(ASKED).map(lambda model: model(event="thing")),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=models)
def test_a_model_is_written_as_what_it_dumps(
    server: RedisServer, publisher: synapse_rs.Publisher, model: pydantic.BaseModel
) -> None:
    assert written(server, publisher, model) == written(server, publisher, model.model_dump())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from([Plain, Slots]),
    tag=st.builds(Tag, names, when=st.none() | st.dates(), points=st.lists(st.just(Point(1, 0.5)), max_size=2)),
    tags=st.lists(anything, max_size=3),
)
def test_a_dataclass_is_written_as_its_asdict(
    server: RedisServer, publisher: synapse_rs.Publisher, kind: Any, tag: Tag, tags: list[Any]
) -> None:
    event = kind(event="thing", tag=tag, tags=tags)
    assert written(server, publisher, event) == written(server, publisher, dataclasses.asdict(event))


def test_what_was_put_beside_the_fields_is_not_published(server: RedisServer, publisher: synapse_rs.Publisher) -> None:
    caching = Caching(event="thing")
    assert caching.length == 5
    plain = Plain("thing", Tag("t"), [])
    plain.more = 1  # type: ignore[attr-defined]
    assert written(server, publisher, caching) == {"event": "thing"}
    assert set(written(server, publisher, plain)) == {"event", "tag", "tags"}


def test_attributes_changed_later_count(server: RedisServer, publisher: synapse_rs.Publisher) -> None:
    model = Model(event="thing")
    model.name = "new"
    fields = written(server, publisher, model)
    assert isinstance(fields, dict)
    assert fields["name"] == "new"


def test_classes_made_at_the_address_of_others_are_not_taken_for_them(
    server: RedisServer, publisher: synapse_rs.Publisher
) -> None:
    for n in range(50):
        kind = dataclasses.make_dataclass("Kind", [("event", str), (f"field_{n}", int)])
        assert written(server, publisher, kind("thing", n)) == {"event": "thing", f"field_{n}": str(n)}
        del kind


class WithProperty:
    __dataclass_fields__ = Plain.__dataclass_fields__

    def __init__(self) -> None:
        self.__dict__.update(event="thing", tag="hidden", tags=[])

    @property
    def tag(self) -> str:
        return "seen"

    @tag.setter
    def tag(self, tag: str) -> None:
        raise AttributeError(tag)


def test_a_property_wins_over_what_lies_behind_it(server: RedisServer, publisher: synapse_rs.Publisher) -> None:
    fields = written(server, publisher, WithProperty())
    assert isinstance(fields, dict)
    assert fields["tag"] == "seen"


@dataclasses.dataclass
class Guarded(Plain):
    def __getattribute__(self, name: str) -> Any:
        return "seen" if name == "tag" else super().__getattribute__(name)


def test_a_class_that_looks_up_its_attributes_itself_is_asked(
    server: RedisServer, publisher: synapse_rs.Publisher
) -> None:
    fields = written(server, publisher, Guarded("thing", Tag("hidden"), []))
    assert isinstance(fields, dict)
    assert fields["tag"] == "seen"


class Dynamic:
    def __getattr__(self, name: str) -> Any:
        if name == "model_dump":
            return lambda: {"event": "thing", "by": "getattr"}
        raise AttributeError(name)


class Failing:
    def model_dump(self) -> Any:
        raise ValueError("no")


class Odd:
    def model_dump(self) -> Any:
        return [1]


def test_any_object_with_model_dump_is_an_event(server: RedisServer, publisher: synapse_rs.Publisher) -> None:
    assert written(server, publisher, Dynamic()) == {"event": "thing", "by": "getattr"}
    assert written(server, publisher, Overriding(event="thing")) == {"event": "thing", "mine": "true"}


@dataclasses.dataclass
class Unset:
    event: str
    later: int = dataclasses.field(init=False)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Failing(), "does not give its fields: no"),
        (Odd(), "expected a dict"),
        (Unset("thing"), "has no attribute 'later'"),
        (Model, "is not an event"),
        (Plain, "is not an event"),
    ],
)
def test_an_object_that_gives_no_fields_is_named(publisher: synapse_rs.Publisher, event: Any, words: str) -> None:
    with pytest.raises(synapse_rs.InvalidEvent, match=words):
        publisher.publish(STREAM, event)


class Adding:
    """Changes the dict it is in while it is written."""

    def __init__(self, into: dict[str, Any]) -> None:
        self.into = into

    def isoformat(self) -> str:
        self.into.pop("event", None)
        self.into[f"k{len(self.into)}"] = 1
        self.into["other"] = 1
        return "x"


@pytest.mark.parametrize("deep", [False, True])
def test_a_dict_that_changes_while_it_is_written_is_refused(publisher: synapse_rs.Publisher, deep: bool) -> None:
    inner: dict[str, Any] = {"event": "thing"}
    inner["a"] = Adding(inner)
    event = {"event": "thing", "inner": inner} if deep else inner
    with pytest.raises(synapse_rs.InvalidEvent, match="changed while it was written"):
        publisher.publish(STREAM, event)


def test_values_within_a_model_are_written_as_anywhere(server: RedisServer, publisher: synapse_rs.Publisher) -> None:
    fields = written(server, publisher, Model(event="thing", data={"at": datetime.date(2026, 1, 1), "in": Inner()}))
    assert isinstance(fields, dict)
    assert json.loads(fields["data"]) == {"at": "2026-01-01", "in": {"n": 1, "colour": "red"}}
