// A WAIT and a HUMAN task are ended from outside: by reference, synchronously, and by signals.

import assert from "node:assert/strict";
import { define, ended, reached, sdk } from "./sdk.mjs";

export async function waiting(clients) {
  const client = clients.getWorkflowClient();
  const wait = (reference) => ({
    name: reference,
    taskReferenceName: reference,
    type: "WAIT",
    inputParameters: {},
  });
  const human = { ...wait("sign"), type: "HUMAN" };
  // The SDK sends all but the first in a wrapper, `taskOutput`, and the server keeps what is sent.
  const outputParameters = {
    first: "${first.output.by}",
    second: "${second.output.taskOutput.by}",
    sign: "${sign.output.taskOutput.by}",
    last: "${last.output.taskOutput.by}",
  };
  const steps = [wait("first"), wait("second"), human, wait("last")];
  await define(clients, "js_wait", steps, { outputParameters });
  const id = await client.startWorkflow({ name: "js_wait", version: 1, input: {} });

  await reached(clients, id, "first");
  await client.updateTaskByRefName("first", id, "COMPLETED", { by: "reference" });
  await reached(clients, id, "second");
  const seen = await client.updateTaskSync("second", id, "COMPLETED", { by: "sync" }, "me");
  assert.equal(seen.workflowId, id);
  await reached(clients, id, "sign");
  const answer = await client.signal(id, "COMPLETED", { by: "signal" }, "TARGET_WORKFLOW");
  assert.equal(answer.responseType, "TARGET_WORKFLOW");
  assert.equal(answer.workflowId, id);
  await reached(clients, id, "last");
  await client.signalAsync(id, "COMPLETED", { by: "later" });
  const workflow = await ended(clients, id);
  assert.equal(workflow.status, "COMPLETED");
  assert.deepEqual(workflow.output, {
    first: "reference",
    second: "sync",
    sign: "signal",
    last: "later",
  });
}
