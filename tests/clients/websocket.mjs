// A browser's WebSocket to `/ws` that comes back with its position, driven line by line; speaks as `websocket_client.py` does.
//
//   node websocket.mjs URL OPTIONS as JSON
//
// Options: those of `websocket_client.py`; `page` and `chromium` as in `line.mjs`.

import { run } from "./line.mjs";

const COME_BACK_MS = 50;

const [url, given] = process.argv.slice(2);
const { page, chromium, subscribe, ...auth } = JSON.parse(given);

const client = (WebSocket, print, { url, auth, subscribe, comeBackMs }) => {
  let socket;
  let position;
  const say = (message) => socket.send(JSON.stringify(message));
  const connect = () => {
    socket = new WebSocket(url);
    socket.onopen = () => {
      if (Object.keys(auth).length > 0) say({ type: "auth", ...auth });
      say({ type: "subscribe", ...subscribe, ...(position && { after: position }) });
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      position = message.position ?? position;
      print({ is: "event", message });
      if (message.type === "subscribed") print({ is: "connected" });
    };
    socket.onclose = ({ code, reason }) => {
      const comesBack = code < 3500 || code > 3999;
      print({ is: "disconnected", code, reason, comesBack });
      if (comesBack) setTimeout(connect, comeBackMs);
    };
  };
  connect();
  return ({ send }) => say(send);
};

const what = { url, auth, subscribe, comeBackMs: COME_BACK_MS };
await run(client, { name: "WebSocket" }, what, { page, chromium });
