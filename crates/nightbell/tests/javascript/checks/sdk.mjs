// The SDK, wherever it is installed, and what every check needs of it.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { setTimeout as pause } from "node:timers/promises";

const folder = process.env.NIGHTBELL_TEST_NODE_MODULES;
assert(folder, "NIGHTBELL_TEST_NODE_MODULES names no folder with the SDK");

export const sdk = createRequire(`${folder}/`)("@io-orkes/conductor-javascript");

const WAIT_MAX_MS = 60_000;

/** Asks until the answer is not undefined. */
export async function eventually(what, ask) {
  const end = Date.now() + WAIT_MAX_MS;
  while (Date.now() < end) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await pause(20);
  }
  throw new Error(`${what}: not within ${WAIT_MAX_MS} ms`);
}

/** The workflow, with its tasks, once it has ended. */
export function ended(clients, id) {
  return eventually(`the end of ${id}`, async () => {
    const workflow = await clients.getWorkflowClient().getWorkflow(id, true);
    return ["RUNNING", "PAUSED"].includes(workflow.status) ? undefined : workflow;
  });
}

/** The workflow, with its tasks, once a task of it is in progress. */
export function reached(clients, id, reference) {
  return eventually(`${reference} of ${id}`, async () => {
    const workflow = await clients.getWorkflowClient().getWorkflow(id, true);
    const there = workflow.tasks.some(
      (task) => task.referenceTaskName === reference && task.status === "IN_PROGRESS",
    );
    return there ? workflow : undefined;
  });
}

/** Registers a workflow of these tasks. */
export function define(clients, name, tasks, more = {}) {
  const definition = { name, version: 1, schemaVersion: 2, timeoutSeconds: 0, tasks, ...more };
  return clients.getMetadataClient().registerWorkflowDef(definition, true);
}

/** Checks that the SDK fails with the server's own words; it passes on no status. */
export async function refused(promise, words) {
  await assert.rejects(promise, (error) => {
    assert.match(error.message, words);
    return true;
  });
}
