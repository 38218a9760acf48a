"""The declarations for TypeScript: programs that use them compile, and what really comes is what they say."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.client import CLIENTS, EventSource, NodeSocketIo, WebSocket
from harness.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.redis_server import RedisServer

TYPES = CLIENTS / "types"
COMPILER = CLIENTS / "node_modules" / ".bin" / "tsc"
DECLARATIONS = Path(__file__).parents[2] / "services" / "gateway" / "types" / "synapse.js"

EVENTS = {
    "inference-events": {
        "event": "inference-failed",
        "model_name": "m",
        "version": "1",
        "latency_ms": "1",
        "cost": "2",
    },
    "model-events": {"event": "model-ready", "model_name": "m", "version": "1", "metrics": '{"f1": 0.5}'},
    "training-events": {"event": "training-progress", "model_name": "m", "step": "7", "progress": "0.5"},
    "platform-events": {"event": "task-created", "service": "s", "action": "a", "data": '{"task_id": "t"}'},
    "agi-decisions": {"event": "agi-decision", "reasoning": "why", "confidence": "0.5"},
    "error-events": {"event": "error", "error_type": "t", "error_message": "m", "context": "{}"},
}


def compiled(*arguments: str | Path) -> str:
    """What the compiler complains of."""
    done = subprocess.run([COMPILER, *arguments], cwd=TYPES, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (done.stdout.strip() == ""), done.stderr
    return done.stdout


def literals(tmp_path: Path, values: Sequence[tuple[str, Any]]) -> str:
    """What the compiler complains of in these values, each as a literal of its type."""
    program = tmp_path / "values.ts"
    lines = [f'import type * as synapse from "{DECLARATIONS}";']
    lines += [f"export const v{n}: {kind} = {json.dumps(value)};" for n, (kind, value) in enumerate(values)]
    program.write_text("\n".join(lines))
    return compiled(
        "--ignoreConfig", "--strict", "--noEmit", "--module", "nodenext", "--target", "es2022", "--types", "", program
    )


def test_programs_that_use_the_declarations_compile_and_mistakes_are_found() -> None:
    assert compiled("--project", TYPES) == ""


def test_what_comes_over_each_protocol_is_as_declared(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    gateway = until_end(Gateway(redis_server.url, {"POSITION_INTERVAL": "100ms", "SHUTDOWN_GRACE": "1s"}))
    socket_io = until_end(NodeSocketIo(gateway)).connected()
    websocket = until_end(WebSocket(gateway)).connected()
    source = until_end(EventSource(gateway)).connected()
    # Those whom no event is for are told their position.
    quiet = until_end(WebSocket(gateway, {"subscribe": {"where": {"model_name": "nobody's"}}})).connected()
    silent = until_end(EventSource(gateway, {"where": "model_name=nobody's"})).connected()
    ids = [redis_server.add(stream, fields) for stream, fields in EVENTS.items()]
    for client in (socket_io, websocket, source):
        client.wait_for_ids(ids)
    answers = [socket_io.emit("subscribe", {"streams": []}), socket_io.emit("subscribe", {"streams": ["x"]})]
    for message in ({"type": "ping"}, {"type": "unsubscribe"}, {"type": "nonsense"}):
        websocket.send(message)
    websocket.wait_for("an error", lambda _: websocket.messages("error"))
    quiet.wait_for("a position", lambda _: quiet.messages("position"))
    silent.wait_for("a position", lambda _: silent.named("position"))
    gateway.stop()
    source.wait_for("the end", lambda _: source.named("closing"))

    said = [line["message"] for line in (*websocket.said, *quiet.said) if line["is"] == "event"]
    values = [("synapse.ServerMessage", message) for message in said]
    values += [("synapse.Answer", answer) for answer in answers]
    for line in socket_io.said:
        if line["is"] == "event":
            kind = f"Parameters<synapse.ServerToClientEvents[{json.dumps(line['name'])}]>"
            values.append((kind, line["arguments"]))
    for line in (*source.said, *silent.said):
        if line["is"] == "event":
            values.append((f"synapse.ServerSentEvents[{json.dumps(line['name'])}]", line["data"]))
    kinds = {message["type"] for message in said} | {line.get("name") for line in source.said if line["is"] == "event"}
    assert kinds >= {"welcome", "subscribed", "event", "position", "pong", "unsubscribed", "error", "closing"}
    assert literals(tmp_path, values) == ""

    # The compiler does look: a field more or less is found.
    for change in ({"positions": "x"}, {"recovered": None}):
        subscribed = {**next(message for message in said if message["type"] == "subscribed"), **change}
        assert "TS2" in literals(tmp_path, [("synapse.ServerMessage", subscribed)])
