// Drives a Nightbell server that asks for keys with the official Durable Task package.
//
// Reads the server's address from ENDPOINT and the key from CONDUCTOR_AUTH_SECRET. Ends with a line that
// says so if every check passed; any failed check ends it at once.

import assert from "node:assert/strict";

import { durable, metadata } from "./checks/durable.mjs";

const { OrchestrationStatus, TaskHubGrpcClient, TaskHubGrpcWorker } = durable;
const UNAUTHENTICATED = 16;

function options(key) {
  return {
    hostAddress: process.env.ENDPOINT,
    metadataGenerator: key && (async () => metadata({ authorization: `Bearer ${key}` })),
    logger: { error() {}, warn() {}, info() {}, debug() {} },
  };
}

const greet = async (_, name) => `hello ${name}`;
const greeting = async function* greeting(ctx, name) {
  return yield ctx.callActivity(greet, name);
};

for (const wrong of [undefined, "nb_wrong"]) {
  const client = new TaskHubGrpcClient(options(wrong));
  await assert.rejects(client.getOrchestrationState("nobody"), (error) => {
    assert.equal(error.code, UNAUTHENTICATED, error.message);
    return true;
  });
  await client.stop();
}

const known = options(process.env.CONDUCTOR_AUTH_SECRET);
const [client, worker] = [new TaskHubGrpcClient(known), new TaskHubGrpcWorker(known)];
worker.addActivity(greet);
worker.addOrchestrator(greeting);
await worker.start();
const id = await client.scheduleNewOrchestration(greeting, "night");
const state = await client.waitForOrchestrationCompletion(id, true, 60);
assert.equal(state?.runtimeStatus, OrchestrationStatus.COMPLETED, JSON.stringify(state));
assert.equal(state.serializedOutput, '"hello night"');
await worker.stop();
await client.stop();
console.log("all checks passed");
process.exit(0);
