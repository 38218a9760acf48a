"""Fixtures of all Python tests."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from harness.gateway import Gateway
from harness.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Closing = TypeVar("Closing", bound=Any)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--soak`: the same tests with far more traffic and faults."""
    parser.addoption("--soak", action="store_true", help="far more traffic and faults; takes minutes")


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether there is time for a long test."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture
def until_end() -> Iterator[Callable[[Closing], Closing]]:
    """Keeps something open until the test ends, and closes it then, the last first."""
    with ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def redis_server(until_end: Callable[[RedisServer], RedisServer]) -> RedisServer:
    """A private Redis that keeps everything in memory."""
    return until_end(RedisServer())


@pytest.fixture
def durable_redis(until_end: Callable[[RedisServer], RedisServer]) -> RedisServer:
    """A private Redis that survives being killed."""
    return until_end(RedisServer(durable=True))


@pytest.fixture
def gateway(redis_server: RedisServer, until_end: Callable[[Gateway], Gateway]) -> Gateway:
    """A gateway over `redis_server`, without a key."""
    return until_end(Gateway(redis_server.url))
