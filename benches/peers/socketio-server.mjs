// The gateway's job done with Socket.IO on Node: each stream is read once, from concrete ids, on a connection of
// its own; an entry goes to its user's room or to everyone.
//
//   node socketio-server.mjs PORT REDIS_URL

import { createServer } from "node:http";
import Redis from "ioredis";
import { Server } from "socket.io";

const STREAMS = {
  "inference-events": "inference-event",
  "platform-events": "platform-event",
  "model-events": "model-event",
  "training-events": "training-event",
};
const BATCH = 1000;
const BLOCK_MS = 2000;

const [port, redisUrl] = process.argv.slice(2);
const http = createServer((request, response) => {
  response.statusCode = request.url === "/ready" ? 200 : 404;
  response.end();
});
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false });

io.on("connection", (socket) => {
  socket.emit("connection_confirmed", { socketId: socket.id, timestamp: new Date().toISOString() });
  socket.on("join_user_room", (userId, answer) => {
    socket.join(`user:${userId}`);
    answer?.({ ok: true });
  });
});

const NUMBERS = new Set(["latency_ms", "tokens_used", "cost", "confidence"]);

function decoded(stream, id, fields) {
  const event = {};
  for (let i = 0; i < fields.length; i += 2) {
    const [field, text] = [fields[i], fields[i + 1]];
    event[field] = NUMBERS.has(field) ? Number(text) : field === "success" ? text === "true" : text;
  }
  event.event_id ??= `${stream}/${id}`;
  return { ...event, id, stream };
}

async function forward() {
  const redis = new Redis(redisUrl);
  const lastIds = Object.fromEntries(Object.keys(STREAMS).map((stream) => [stream, "0-0"]));
  http.listen(Number(port), "127.0.0.1");
  for (;;) {
    const names = Object.keys(lastIds);
    const answer = await redis.xread(
      ...["COUNT", BATCH, "BLOCK", BLOCK_MS, "STREAMS"],
      ...names,
      ...names.map((name) => lastIds[name]),
    );
    for (const [stream, entries] of answer ?? []) {
      for (const [id, fields] of entries) {
        const event = decoded(stream, id, fields);
        (event.user_id ? io.to(`user:${event.user_id}`) : io).emit(STREAMS[stream], event);
        lastIds[stream] = id;
      }
    }
  }
}

await forward();
