from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from os import PathLike
from typing import Any, Literal, Self, TypeAlias, final

from typing_extensions import disjoint_base

from synapse_rs.events import Event
from synapse_rs.publisher import PublisherStats

__all__ = [
    "Delivery",
    "Filter",
    "Letters",
    "Publisher",
    "Receipt",
    "Subscription",
    "Tail",
    "end_records",
    "flush_all",
    "set_record_level",
    "stop",
    "take_records",
]

_OnError: TypeAlias = Callable[[str, dict[str, Any], Exception], object]

@disjoint_base
class Publisher:
    def __new__(
        cls,
        url: str = "redis://localhost:6379",
        *,
        source: str = "python",
        maxlen: int = 1_000_000,
        stream_maxlen: Mapping[str, int] | None = None,
        queue_events: int = 1_000_000,
        queue_bytes: int = 67_108_864,
        on_full: Literal["wait", "raise", "spool", "drop"] | None = None,
        spool_dir: str | PathLike[str] | None = None,
        spool_bytes: int = 1_073_741_824,  # noqa: PYI054
        on_error: _OnError | None = None,
        linger: float = 0.0,
        timeout: float = 30.0,
        response_timeout: float = 30.0,
        max_batch_bytes: int = 524_288,
        max_entry_bytes: int = 1_048_576,
        max_fields: int = 128,
    ) -> Self: ...
    def connect(self, timeout: float = 5.0) -> None: ...
    def connect_async(self, timeout: float = 5.0) -> Awaitable[None]: ...
    def publish(self, stream: str, event: Any) -> None: ...
    def publish_async(self, stream: str, event: Any) -> Awaitable[None]: ...
    def publish_many(self, stream: str, events: Iterable[Any]) -> int: ...
    def publish_inference(
        self,
        *,
        model_name: str,
        version: str,
        latency_ms: float,
        user_id: str | None = None,
        request_id: str | None = None,
        tokens_used: int | None = None,
        cost: float | None = None,
        confidence: float | None = None,
        success: bool | None = None,
        error: str | None = None,
        **extra: Any,
    ) -> None: ...
    def publish_model_ready(
        self,
        *,
        model_name: str,
        version: str,
        registry_path: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        model_type: str | None = None,
        accuracy: float | None = None,
        size_mb: float | None = None,
        **extra: Any,
    ) -> None: ...
    def publish_training(
        self,
        *,
        model_name: str,
        event: str | None = None,
        experiment_id: str | None = None,
        status: str | None = None,
        step: int | None = None,
        progress: float | None = None,
        metrics: Mapping[str, Any] | None = None,
        error: str | None = None,
        training_run_request_id: str | None = None,
        **extra: Any,
    ) -> None: ...
    def publish_platform(
        self,
        *,
        event: str,
        service: str,
        action: str,
        user_id: str | None = None,
        organization_id: str | None = None,
        data: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> None: ...
    def publish_agi_decision(
        self,
        *,
        decision_type: str | None = None,
        action: Mapping[str, Any] | None = None,
        target_service: str | None = None,
        reasoning: str | None = None,
        confidence: float | None = None,
        **extra: Any,
    ) -> None: ...
    def publish_error(
        self, *, error_type: str, error_message: str, context: Mapping[str, Any] | None = None, **extra: Any
    ) -> None: ...
    def send(self, stream: str, event: Any) -> Receipt: ...
    def flush(self, timeout: float = 5.0) -> None: ...
    def flush_async(self, timeout: float = 5.0) -> Awaitable[None]: ...
    def stats(self) -> PublisherStats: ...
    def close(self, timeout: float = 5.0) -> None: ...
    def close_async(self, timeout: float = 5.0) -> Awaitable[None]: ...
    @property
    def closed(self) -> bool: ...

@final
class Receipt:
    def result(self, timeout: float | None = None) -> str: ...
    def done(self) -> bool: ...
    def __await__(self) -> Generator[Any, None, str]: ...

@final
class Subscription:
    @staticmethod
    def open(url: str, *, condition: dict[str, Any] | None = None, **settings: Any) -> Awaitable[Subscription]: ...
    def ready(self) -> Awaitable[bool]: ...
    def take(self, max_events: int, *, singly: bool = False) -> list[Event]: ...
    def ack_all(self, events: list[Event]) -> None: ...
    def pause(self, after: float) -> None: ...
    def stats(self) -> dict[str, int]: ...
    def positions(self) -> dict[str, str]: ...
    def close(self) -> Awaitable[None]: ...
    @property
    def consumer(self) -> str: ...

@final
class Delivery:
    def __new__(cls, stream: str, id: str, deliveries: int = 1) -> Delivery: ...  # noqa: A002
    @property
    def stream(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def deliveries(self) -> int: ...
    @property
    def is_settled(self) -> bool: ...
    def ack(self) -> None: ...
    def fail(self, reason: str, delay: float | None = None) -> None: ...
    def reject(self, reason: str) -> None: ...
    def reject_undecodable(self, reason: str) -> None: ...
    def release(self) -> None: ...

@final
class Filter:
    def __new__(cls, condition: dict[str, Any]) -> Filter: ...
    def matches(self, fields: dict[str, Any]) -> bool: ...

@final
class Tail:
    @staticmethod
    def open(
        url: str, streams: list[str], *, after: str, condition: dict[str, Any] | None = None
    ) -> Awaitable[Tail]: ...
    def next(self) -> Awaitable[list[Event]]: ...

@final
class Letters:
    def take(self) -> tuple[_OnError | None, list[tuple[str, dict[str, Any], Exception]], int] | None: ...

def take_records() -> tuple[list[tuple[int, str, str | None, int, str, float]], int] | None: ...
def end_records(timeout: float) -> None: ...
def set_record_level(level: int) -> None: ...
def flush_all(timeout: float) -> list[str]: ...
def stop() -> None: ...
