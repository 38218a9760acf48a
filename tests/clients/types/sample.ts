// What programs write against the declarations; compiled by the tests, never run. Each `@ts-expect-error` is a mistake that
// the declarations must find.

import { io, type Socket } from "socket.io-client";
import type {
  Answer,
  ClientMessage,
  ClientToServerEvents,
  InferenceEvent,
  ServerMessage,
  ServerSentEvents,
  ServerToClientEvents,
} from "../../../services/gateway/types/synapse.js";

// === Socket.IO ===

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io("http://localhost:5008", { auth: { userId: "42" } });

socket.on("connection_confirmed", ({ socketId }) => console.log(socketId.length));
socket.on("inference-event", (event) => {
  const cost: number | undefined = event.cost;
  const name: string = event.model_name;
  console.log(name, event.latency_ms.toFixed(1), cost, event.success === false, event["a field of one's own"]);
  // @ts-expect-error: it is a number
  event.latency_ms.trim();
});
socket.on("platform-event", (event) => {
  console.log(event.service, event.data?.["task_id"]);
});
socket.on("agi-decision-event", (event) => console.log(event.reasoning, event.stream));
socket.on("closing", ({ code, reason }) => {
  if (code === 3500) console.log(reason);
  // @ts-expect-error: there is no such code
  if (code === 1234) console.log(reason);
});
// @ts-expect-error: there is no such event
socket.on("inference-events", () => undefined);

socket.emit("subscribe", { streams: ["model-events"], where: { model_name: ["a", "b"] } });
socket.emit("subscribe", { streams: ["model-events"] }, (answer: Answer) => {
  if (answer.ok) console.log("subscribed");
  else console.log(answer.error.code);
});
// @ts-expect-error: there is no such stream
socket.emit("subscribe", { streams: ["model-event"] });
socket.emit("join_user_room", 42);
socket.emit("refresh", { token: "…" }, ({ error }) => console.log(error?.message));
// @ts-expect-error: a token is needed
socket.emit("refresh", {});

// === WebSocket ===

const said = (message: ServerMessage): string | number => {
  switch (message.type) {
    case "event":
      if (message.stream === "training-events") return message.event.progress ?? 0;
      if (message.stream === "error-events") return message.event.error_message;
      return message.position;
    case "subscribed":
      return message.recovered ? message.position : "something is gone";
    case "error":
      return message.code;
    default:
      return message.type;
  }
};
const messages: ClientMessage[] = [
  { type: "subscribe", streams: ["inference-events"], last: 50 },
  { type: "auth", token: "…" },
  { type: "ping" },
  // @ts-expect-error: it needs a token
  { type: "refresh" },
];
console.log(said, messages);

// === server-sent events ===

const source = new EventSource("/events?streams=model-events");
const on = <Name extends keyof ServerSentEvents>(name: Name, handle: (data: ServerSentEvents[Name]) => void) =>
  source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
on("subscribed", ({ recovered }) => console.log(recovered));
on("closing", ({ code }) => {
  if (code !== null && code >= 3500) source.close();
});
on("model-event", (event) => {
  if (event.event === "model-ready") console.log(event.registry_path, event.size_mb);
  else console.log(event.load_time_ms);
  // @ts-expect-error: only one that is ready has it
  event.registry_path.trim();
});

// === a union that a switch can tell apart ===

export const why = (event: InferenceEvent): string => {
  switch (event.event) {
    case "inference-complete":
      return "";
    case "inference-failed":
      return event.error ?? "unknown";
  }
};
