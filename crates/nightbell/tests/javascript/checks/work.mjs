// Workers of two task types carry workflows to their end; the operator's verbs act on others.

import assert from "node:assert/strict";
import { define, ended, sdk } from "./sdk.mjs";

/** What the SDK's task manager runs. */
export const workers = [
  {
    taskDefName: "js_greet",
    execute: async ({ inputData }) => ({
      status: "COMPLETED",
      outputData: { greeting: `hello ${inputData.name}` },
      logs: [{ log: `greeted ${inputData.name}`, createdTime: Date.now() }],
    }),
  },
  {
    taskDefName: "js_count",
    execute: async ({ inputData }) => {
      if (inputData.text === "hello nobody") throw new sdk.NonRetryableException("nobody is there");
      return { status: "COMPLETED", outputData: { letters: inputData.text.length } };
    },
  },
];

/** Answers the ids of the workflows that completed. */
export async function work(clients) {
  const client = clients.getWorkflowClient();
  const names = Array.from({ length: 20 }, (_, number) => `n${number}`);
  const request = (name) => ({
    name: "js_flow",
    version: 1,
    input: { name },
    correlationId: "js",
  });
  const ids = await Promise.all(names.map((name) => client.startWorkflow(request(name))));
  for (const [at, id] of ids.entries()) {
    const workflow = await ended(clients, id);
    const greeting = `hello ${names[at]}`;
    assert.equal(workflow.status, "COMPLETED", workflow.reasonForIncompletion);
    assert.deepEqual(workflow.output, { greeting, letters: greeting.length });
    assert.deepEqual(workflow.tasks.map((task) => task.referenceTaskName), ["greet", "count"]);
    assert(workflow.tasks.every((task) => task.workerId));
  }
  await tasks(clients, ids[0]);
  await failure(clients, request("nobody"));
  await execution(clients, request("now"));
  await verbs(clients, ids[0]);
  await rehearsal(clients.getWorkflowClient());
  return ids;
}

async function tasks(clients, id) {
  const client = clients.getTaskClient();
  const [greet] = (await clients.getWorkflowClient().getWorkflow(id, true)).tasks;
  assert.equal((await client.getTask(greet.taskId)).taskType, "js_greet");
  await client.addTaskLog(greet.taskId, "looked at");
  const logs = (await client.getTaskLogs(greet.taskId)).map((entry) => entry.log);
  assert.deepEqual(logs.sort(), ["greeted n0", "looked at"]);
  const polled = await client.getTaskPollData("js_greet");
  assert(polled.some((row) => row.queueName === "js_greet" && row.lastPollTime > 0));
  assert.equal((await client.getQueueSizeForTask(["js_greet"])).js_greet, 0);
}

async function failure(clients, request) {
  const id = await clients.getWorkflowClient().startWorkflow({ ...request, correlationId: "no" });
  const workflow = await ended(clients, id);
  assert.equal(workflow.status, "FAILED");
  const last = workflow.tasks.at(-1);
  assert.equal(last.status, "FAILED_WITH_TERMINAL_ERROR");
  assert.match(last.reasonForIncompletion, /nobody is there/);
}

async function execution(clients, request) {
  const client = clients.getWorkflowClient();
  const sent = { ...request, correlationId: "at once" };
  const run = await client.executeWorkflow(sent, "js_flow", 1, "request-1");
  assert.equal(run.status, "COMPLETED");
  assert.equal(run.output.greeting, "hello now");
}

async function verbs(clients, completed) {
  const client = clients.getWorkflowClient();
  await client.restart(completed, false);
  assert.equal((await ended(clients, completed)).status, "COMPLETED");

  await define(clients, "js_idle", [sdk.simpleTask("idle", "js_nobody_polls_this", {})]);
  const id = await client.startWorkflowByName("js_idle", {}, 1, "idle");
  const status = async () => (await client.getWorkflowStatus(id, false, false)).status;
  await client.pause(id);
  assert.equal(await status(), "PAUSED");
  await client.resume(id);
  assert.equal(await status(), "RUNNING");
  await client.updateVariables(id, { seen: 1 });
  assert.equal((await client.getWorkflow(id, false)).variables.seen, 1);
  await client.terminate(id, "the test is over");
  const workflow = await client.getWorkflow(id, true);
  assert.equal(workflow.status, "TERMINATED");
  assert.equal(workflow.reasonForIncompletion, "the test is over");
  await client.retry(id, false);
  assert.equal(await status(), "RUNNING");
  const taskResult = { workflowInstanceId: id, taskId: "", status: "COMPLETED" };
  const update = { taskReferenceName: "idle", taskResult, variables: { seen: 2 } };
  const run = await client.updateState(id, update, "request-2", "idle", 10);
  assert.equal(run.status, "COMPLETED");
  assert.equal(run.variables.seen, 2);

  const last = (await client.getWorkflow(completed, true)).tasks.at(-1);
  await client.reRun(completed, { reRunFromTaskId: last.taskId, taskInput: { text: "four" } });
  assert.equal((await ended(clients, completed)).output.letters, 4);
}

/** What would happen, with mocks in the place of workers. */
async function rehearsal(client) {
  const rehearsed = await client.testWorkflow({
    name: "js_flow",
    version: 1,
    input: { name: "x" },
    taskRefToMockOutput: {
      greet: [{ status: "COMPLETED", output: { greeting: "mocked" } }],
      count: [{ status: "COMPLETED", output: { letters: 6 } }],
    },
  });
  assert.equal(rehearsed.status, "COMPLETED");
  assert.deepEqual(rehearsed.output, { greeting: "mocked", letters: 6 });
}
