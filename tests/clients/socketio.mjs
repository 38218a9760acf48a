// A stock socket.io-client, of Node or of a browser, driven line by line.
//
//   node socketio.mjs URL [AUTH as JSON [TRANSPORTS as JSON [OPTIONS as JSON]]]
//
// Options: `package`, the name under which `package.json` has the version of the client; `page` and `chromium` as in `line.mjs`.
//
// Prints one JSON object per line: {is: "connected", recovered}, {is: "upgraded", to}, {is: "event", name, arguments}, {is: "answer", to, arguments},
// {is: "refused", message, data}, {is: "disconnected", reason, comesBack}. Takes, one per line, {id, emit: [name, ...arguments]}
// (answered when the server acknowledges). Bytes are {bytes: base64} in both, in Node. Ends with its standard input.

import { fileURLToPath } from "node:url";
import { run } from "./line.mjs";

const [url, auth = "{}", transports = '["websocket"]', given = "{}"] = process.argv.slice(2);
const options = JSON.parse(given);
const name = options.package ?? "socket.io-client";

const client = (io, print, { url, auth, transports }) => {
  const socket = io(url, { transports, auth, reconnectionDelay: 50, reconnectionDelayMax: 200 });
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
  return ({ id, emit }) => {
    socket.emit(...emit, (...answer) => print({ is: "answer", to: id, arguments: answer }));
  };
};

await run(
  client,
  {
    api: (await import(name)).io,
    name: "io",
    script: fileURLToPath(new URL(`node_modules/${name}/dist/socket.io.js`, import.meta.url)),
  },
  { url, auth: JSON.parse(auth), transports: JSON.parse(transports) },
  options,
  {
    written: (_, value) => (value?.type === "Buffer" ? { bytes: Buffer.from(value.data).toString("base64") } : value),
    read: (_, value) => (value?.bytes === undefined ? value : Buffer.from(value.bytes, "base64")),
  },
);
