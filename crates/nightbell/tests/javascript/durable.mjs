// Drives a Nightbell server with the official Durable Task package, as its users would.
//
// Reads the server's address from ENDPOINT. Ends with a line that says so if every check passed; any
// failed check ends it at once.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

import { durable, metadata } from "./checks/durable.mjs";

const { OrchestrationStatus, TaskHubGrpcClient, TaskHubGrpcWorker, whenAll, whenAny } = durable;

// How long anything may take on a busy machine, in seconds.
const PATIENCE = 60;

const hello = async (_, name) => `hello ${name}`;
const shout = async (_, text) => text.toUpperCase();
const square = async (_, number) => number * number;

const chain = async function* chain(ctx, name) {
  const greeting = yield ctx.callActivity(hello, name);
  const louder = yield ctx.callActivity(shout, greeting);
  return [greeting, louder, yield ctx.callActivity(square, louder.length)];
};

const fan = async function* fan(ctx, count) {
  const tasks = Array.from({ length: count }, (_, number) => ctx.callActivity(square, number));
  const squares = yield whenAll(tasks);
  return squares.reduce((sum, square) => sum + square, 0);
};

const timed = async function* timed(ctx, seconds) {
  const begun = ctx.currentUtcDateTime.getTime();
  ctx.setCustomStatus({ waiting: true });
  yield ctx.createTimer(seconds);
  ctx.setCustomStatus({ waiting: false });
  return ctx.currentUtcDateTime.getTime() - begun;
};

const approval = async function* approval(ctx, seconds) {
  const answer = ctx.waitForExternalEvent("Approval");
  const late = ctx.createTimer(seconds);
  const first = yield whenAny([answer, late]);
  return first === answer ? answer.getResult() : "nobody answered";
};

const counts = async function* counts(ctx, count) {
  const word = yield ctx.waitForExternalEvent("next");
  if (word === "stop") return count;
  ctx.continueAsNew(count + 1, true);
};

const family = async function* family(ctx, name) {
  return yield ctx.callSubOrchestrator(chain, name);
};

for (const hub of [undefined, "javascript"]) {
  const options = {
    hostAddress: process.env.ENDPOINT,
    metadataGenerator: hub && (async () => metadata({ taskhub: hub })),
    logger: { error() {}, warn() {}, info() {}, debug() {} },
  };
  const client = new TaskHubGrpcClient(options);
  const worker = new TaskHubGrpcWorker(options);
  for (const activity of [hello, shout, square]) worker.addActivity(activity);
  for (const orchestrator of [chain, fan, timed, approval, counts, family]) {
    worker.addOrchestrator(orchestrator);
  }
  await worker.start();
  try {
    for (const check of [chaining, fanning, timers, events, continuing, children, controls]) {
      console.log(`${hub ?? "plain"}: ${check.name}`);
      await check(client);
    }
  } finally {
    await client.stop();
    await worker.stop();
  }
}
console.log("javascript: suspending");
await suspending();
console.log("all checks passed");
process.exit(0);

async function ended(client, id) {
  const state = await client.waitForOrchestrationCompletion(id, true, PATIENCE);
  assert.ok(state, id);
  return state;
}

async function result(client, orchestrator, input) {
  const id = await client.scheduleNewOrchestration(orchestrator, input);
  const state = await ended(client, id);
  assert.equal(state.runtimeStatus, OrchestrationStatus.COMPLETED, JSON.stringify(state));
  return JSON.parse(state.serializedOutput);
}

async function chaining(client) {
  assert.deepEqual(await result(client, chain, "bell"), ["hello bell", "HELLO BELL", 100]);
}

async function fanning(client) {
  const expected = Array.from({ length: 40 }, (_, n) => n * n).reduce((sum, n) => sum + n, 0);
  assert.equal(await result(client, fan, 40), expected);
}

async function timers(client) {
  const id = await client.scheduleNewOrchestration(timed, 1);
  const state = await ended(client, id);
  assert.ok(JSON.parse(state.serializedOutput) >= 1000, state.serializedOutput);
  assert.deepEqual(JSON.parse(state.serializedCustomStatus), { waiting: false });
}

async function events(client) {
  const id = await client.scheduleNewOrchestration(approval, 3600);
  await client.waitForOrchestrationStart(id, false, PATIENCE);
  await client.raiseOrchestrationEvent(id, "approval", { by: "me" });
  assert.deepEqual(JSON.parse((await ended(client, id)).serializedOutput), { by: "me" });
  assert.equal(await result(client, approval, 0.1), "nobody answered");
}

async function continuing(client) {
  const id = await client.scheduleNewOrchestration(counts, 0);
  for (const word of ["go", "go", "go", "stop"]) {
    await client.raiseOrchestrationEvent(id, "next", word);
  }
  assert.equal(JSON.parse((await ended(client, id)).serializedOutput), 3);
}

async function children(client) {
  assert.deepEqual(await result(client, family, "child"), ["hello child", "HELLO CHILD", 121]);
}

async function controls(client) {
  const id = `javascript-${randomUUID()}`;
  await client.scheduleNewOrchestration(counts, 0, id);
  await client.waitForOrchestrationStart(id, false, PATIENCE);
  await client.suspendOrchestration(id);
  await client.raiseOrchestrationEvent(id, "next", "stop");
  await client.resumeOrchestration(id);
  assert.equal(JSON.parse((await ended(client, id)).serializedOutput), 0);
  const purged = await client.purgeOrchestration(id);
  assert.equal(purged.deletedInstanceCount, 1);
  assert.equal(await client.getOrchestrationState(id), undefined);
}

// Suspended while no worker is there to hear of it: every activity runs once all the same.
async function suspending() {
  const options = {
    hostAddress: process.env.ENDPOINT,
    metadataGenerator: async () => metadata({ taskhub: "javascript-suspended" }),
    logger: { error() {}, warn() {}, info() {}, debug() {} },
  };
  const count = Number(process.env.NIGHTBELL_TEST_SUSPENDED ?? 24);
  const steps = 4;
  const runs = new Map();
  const step = async (ctx, number) => {
    const key = `${ctx.orchestrationId}/${number}`;
    runs.set(key, (runs.get(key) ?? 0) + 1);
    return number;
  };
  const walk = async function* walk(ctx) {
    yield ctx.waitForExternalEvent("begin");
    let total = 0;
    for (let number = 0; number < steps; number++) {
      if (number % 2) yield ctx.createTimer(0.02);
      total += yield ctx.callActivity(step, number);
    }
    return total;
  };
  const client = new TaskHubGrpcClient(options);
  const during = async (check) => {
    const worker = new TaskHubGrpcWorker(options);
    worker.addActivity(step);
    worker.addOrchestrator(walk);
    await worker.start();
    await check();
    await worker.stop();
  };
  const until = async (id, status) => {
    const deadline = Date.now() + PATIENCE * 1000;
    while ((await client.getOrchestrationState(id)).runtimeStatus !== status) {
      assert.ok(Date.now() < deadline, `${id} is not ${OrchestrationStatus[status]}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const ids = [];
  await during(async () => {
    for (let number = 0; number < count; number++) {
      ids.push(await client.scheduleNewOrchestration(walk));
    }
    for (const id of ids) await until(id, OrchestrationStatus.RUNNING);
  });
  for (const id of ids) {
    await client.raiseOrchestrationEvent(id, "begin");
    await client.suspendOrchestration(id);
  }
  await during(async () => {
    for (const id of ids) await until(id, OrchestrationStatus.SUSPENDED);
    for (let round = 0; round < 4; round++) {
      for (const id of ids) await client.raiseOrchestrationEvent(id, "noise");
    }
    for (const id of ids) await client.resumeOrchestration(id);
    for (const id of ids) {
      const state = await ended(client, id);
      assert.equal(state.runtimeStatus, OrchestrationStatus.COMPLETED, JSON.stringify(state));
      assert.equal(JSON.parse(state.serializedOutput), 6);
    }
  });
  const again = [...runs].filter(([, times]) => times !== 1);
  assert.deepEqual(again, []);
  assert.equal(runs.size, count * steps);
  await client.stop();
}
