// What the JavaScript clients share: where they run, and the lines by which they are driven.

import { createInterface } from "node:readline";

// Runs `client(api, print, what)`, which connects and gives what obeys commands, until standard input ends. In Node it is given
// `api`; with `options.page`, the address of a page, it runs by its text in that page, in the browser at `options.chromium`, and is given
// what is called `name` there. `options.cookie`, {name, value, url}, is a cookie of that browser; `script` is a file that the page loads first.
export const run = async (client, { api, name, script }, what, options, { written, read } = {}) => {
  const print = (line) => process.stdout.write(`${JSON.stringify(line, written)}\n`);
  const { obey, leave } = options.page
    ? await inPage(client, { name, script }, what, options, print)
    : { obey: client(api, print, what), leave: () => {} };
  const commands = createInterface({ input: process.stdin });
  commands.on("line", (line) => obey(JSON.parse(line, read)));
  commands.on("close", async () => {
    await leave();
    process.exit(0);
  });
};

const inPage = async (client, { name, script }, what, options, print) => {
  // Not needed in Node, and large.
  const { chromium } = await import("playwright-core");
  const browser = await chromium.launch({
    executablePath: options.chromium,
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  const context = await browser.newContext();
  if (options.cookie) await context.addCookies([options.cookie]);
  const page = await context.newPage();
  await page.exposeFunction("print", print);
  await page.goto(options.page);
  if (script) await page.addScriptTag({ path: script });
  await page.evaluate(`void (window.obey = (${client})(${name}, window.print, ${JSON.stringify(what)}))`);
  return { obey: (command) => page.evaluate((command) => window.obey(command), command), leave: () => browser.close() };
};
