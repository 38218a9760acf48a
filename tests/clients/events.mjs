// An EventSource, of Node or of a browser, driven line by line.
//
//   node events.mjs URL [OPTIONS as JSON]
//
// Options: `page`, `chromium` and `cookie` as in `line.mjs`; `credentials`, whether it sends cookies to another origin.
//
// Prints one JSON object per line: {is: "connected"} (subscribed), {is: "event", name, data, id}, {is: "disconnected", comesBack}.
// It comes back by itself, as the standard has it. Ends with its standard input.

import { EventSource } from "eventsource";
import { run } from "./line.mjs";

const NAMES = ["inference", "platform", "model", "training", "agi-decision", "error"].map((stream) => `${stream}-event`);
const OWN = ["welcome", "subscribed", "position", "closing"];

const [url, given] = process.argv.slice(2);
const options = given ? JSON.parse(given) : {};

const listen = (EventSource, print, { url, names, withCredentials }) => {
  const source = new EventSource(url, { withCredentials });
  for (const name of names) {
    source.addEventListener(name, ({ data, lastEventId }) => {
      print({ is: "event", name, data: JSON.parse(data), id: lastEventId });
      if (name === "subscribed") print({ is: "connected" });
    });
  }
  source.addEventListener("error", (event) => {
    // Of the stream error-events comes `error-event`; this is the EventSource's own.
    if (event.data === undefined) print({ is: "disconnected", comesBack: source.readyState !== EventSource.CLOSED });
  });
};

const what = { url, names: [...OWN, ...NAMES], withCredentials: options.credentials ?? false };
await run(listen, { api: EventSource, name: "EventSource" }, what, options);
