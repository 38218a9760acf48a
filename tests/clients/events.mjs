// An EventSource, of Node or of a browser, driven line by line.
//
//   node events.mjs URL [OPTIONS as JSON]
//
// Options: `page`, the address of a page; the EventSource is that page's, in the browser at `chromium`. `cookie`, {name, value, url}, a cookie
// of that browser. `credentials`, whether it sends cookies to another origin.
//
// Prints one JSON object per line: {is: "connected"} (subscribed), {is: "event", name, data, id}, {is: "disconnected", comesBack}.
// It comes back by itself, as the standard has it. Ends with its standard input.

import { EventSource as NodeEventSource } from "eventsource";
import { chromium } from "playwright-core";

const NAMES = ["inference", "platform", "model", "training", "agi-decision", "error"].map((stream) => `${stream}-event`);
const OWN = ["welcome", "subscribed", "position", "closing"];

const [url, given] = process.argv.slice(2);
const options = given ? JSON.parse(given) : {};
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// Runs on Node or, by its text, in a page.
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
if (options.page) {
  const browser = await chromium.launch({
    executablePath: options.chromium,
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  process.stdin.on("close", () => browser.close().then(() => process.exit(0)));
  const context = await browser.newContext();
  if (options.cookie) await context.addCookies([options.cookie]);
  const page = await context.newPage();
  await page.exposeFunction("print", print);
  await page.goto(options.page);
  await page.evaluate(`(${listen})(EventSource, window.print, ${JSON.stringify(what)})`);
} else {
  listen(NodeEventSource, print, what);
  process.stdin.on("close", () => process.exit(0));
}
process.stdin.resume();
