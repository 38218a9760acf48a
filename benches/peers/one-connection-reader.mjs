// Reading as today's Node gateway does: a loop per stream, each with a blocking XREADGROUP, all on one connection.
// Redis answers a connection's commands one after the other, so a stream with news waits for three without.
//
//   node one-connection-reader.mjs REDIS_URL GROUP EVENTS
//
// Prints how many events came after the first batch, and the seconds and CPU seconds that they took.

import Redis from "ioredis";

const STREAMS = ["inference-events", "platform-events", "model-events", "training-events"];
const BATCH = 10;
const BLOCK_MS = 1000;

const [redisUrl, group, wanted] = process.argv.slice(2);
const redis = new Redis(redisUrl);
const acknowledgements = [];
let came = 0;
let started;
let report;

async function subscribe(stream) {
  while (!report) {
    const answer = await redis.xreadgroup(
      ...["GROUP", group, "gateway", "COUNT", BATCH, "BLOCK", BLOCK_MS, "STREAMS", stream, ">"],
    );
    for (const [, entries] of answer ?? []) {
      for (const [id] of entries) {
        // Not waited for: each would wait for three blocking reads.
        acknowledgements.push(redis.xack(stream, group, id));
      }
      measure(entries.length);
    }
  }
}

// The first batch is there at once, whoever reads; the clock starts with it.
function measure(events) {
  if (started === undefined) {
    started = { at: performance.now(), cpu: process.cpuUsage() };
    return;
  }
  came += events;
  if (came >= Number(wanted)) {
    const { user, system } = process.cpuUsage(started.cpu);
    const seconds = (performance.now() - started.at) / 1000;
    report ??= { events: came, seconds, cpu_seconds: (user + system) / 1e6 };
  }
}

await Promise.all(STREAMS.map(subscribe));
await Promise.all(acknowledgements);
redis.disconnect();
console.log(JSON.stringify(report));
