// A stock socket.io-client, driven line by line.
//
//   node socketio.mjs URL [AUTH as JSON [TRANSPORTS as JSON]]
//
// Prints one JSON object per line: {is: "connected"}, {is: "upgraded", to}, {is: "event", name, arguments}, {is: "answer", to, arguments},
// {is: "refused", message, data}, {is: "disconnected", reason}. Takes, one per line, {id, emit: [name, ...arguments]}
// (answered when the server acknowledges). Bytes are {bytes: base64} in both. Ends with its standard input.

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, auth, transports] = process.argv.slice(2);
const written = (_, value) =>
  value?.type === "Buffer" ? { bytes: Buffer.from(value.data).toString("base64") } : value;
const read = (_, value) => (value?.bytes === undefined ? value : Buffer.from(value.bytes, "base64"));
const print = (line) => process.stdout.write(`${JSON.stringify(line, written)}\n`);

const socket = io(url, {
  transports: transports ? JSON.parse(transports) : ["websocket"],
  auth: auth ? JSON.parse(auth) : {},
  reconnectionDelay: 50,
  reconnectionDelayMax: 200,
});

socket.io.on("open", () => {
  socket.io.engine.once("upgrade", (transport) => print({ is: "upgraded", to: transport.name }));
});
socket.on("connect", () => print({ is: "connected", id: socket.id, recovered: socket.recovered }));
socket.on("connect_error", (error) => {
  // Without `active` the client has given up: the server refused it. Otherwise it comes back by itself.
  if (!socket.active) print({ is: "refused", message: error.message, data: error.data ?? null });
});
socket.on("disconnect", (reason) => print({ is: "disconnected", reason, comesBack: socket.active }));
socket.onAny((name, ...rest) => print({ is: "event", name, arguments: rest }));

const commands = createInterface({ input: process.stdin });
commands.on("line", (line) => {
  const { id, emit } = JSON.parse(line, read);
  socket.emit(...emit, (...answer) => print({ is: "answer", to: id, arguments: answer }));
});
commands.on("close", () => {
  socket.disconnect();
  process.exit(0);
});
