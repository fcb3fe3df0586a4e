// Definitions and their tags: registered, read back, changed, removed.

import assert from "node:assert/strict";
import { define, refused, sdk } from "./sdk.mjs";

export async function metadata(clients) {
  const client = clients.getMetadataClient();
  await tasks(client);
  await workflows(clients, client);
  await tags(client);
}

async function tasks(client) {
  const names = ["js_greet", "js_count"];
  const limits = { retryCount: 1, timeoutSeconds: 60, responseTimeoutSeconds: 10 };
  await client.registerTasks(names.map((name) => ({ name, ...limits })));
  const greet = await client.getTask("js_greet");
  assert.equal(greet.name, "js_greet");
  await client.updateTask({ ...greet, description: "greets" });
  assert.equal((await client.getTask("js_greet")).description, "greets");

  await client.registerTask({ name: "js_gone", ...limits });
  const all = (await client.getAllTaskDefs()).map((task) => task.name);
  assert([...names, "js_gone"].every((name) => all.includes(name)), all.join());
  await client.unregisterTask("js_gone");
  await refused(client.getTask("js_gone"), /No such taskType found by name: js_gone/);
}

async function workflows(clients, client) {
  const steps = [
    sdk.simpleTask("greet", "js_greet", { name: "${workflow.input.name}" }),
    sdk.simpleTask("count", "js_count", { text: "${greet.output.greeting}" }),
  ];
  const outputParameters = {
    greeting: "${greet.output.greeting}",
    letters: "${count.output.letters}",
  };
  await define(clients, "js_flow", steps, { outputParameters });
  const stored = await client.getWorkflowDef("js_flow", 1);
  assert.deepEqual(stored.tasks.map((task) => task.taskReferenceName), ["greet", "count"]);
  assert.deepEqual(stored.outputParameters, outputParameters);

  await define(clients, "js_gone", [sdk.waitTaskDuration("nap", "1s")]);
  const all = (await client.getAllWorkflowDefs()).map((workflow) => workflow.name);
  assert(["js_flow", "js_gone"].every((name) => all.includes(name)), all.join());
  await client.unregisterWorkflow("js_gone", 1);
  await refused(client.getWorkflowDef("js_gone", 1), /js_gone/);
}

async function tags(client) {
  const team = { key: "team", value: "night", type: "METADATA" };
  const kind = { key: "kind", value: "test", type: "METADATA" };
  await client.setWorkflowTags([team], "js_flow");
  await client.addWorkflowTag(kind, "js_flow");
  assert.deepEqual(pairs(await client.getWorkflowTags("js_flow")), ["kind=test", "team=night"]);
  await client.deleteWorkflowTag(kind, "js_flow");
  assert.deepEqual(pairs(await client.getWorkflowTags("js_flow")), ["team=night"]);
  assert.equal(await client.getWorkflowRateLimit("js_flow"), undefined);
  await client.setWorkflowRateLimit({ rateLimitKey: "js", concurrentExecLimit: 9 }, "js_flow");
  assert.equal((await client.getWorkflowRateLimit("js_flow")).concurrentExecLimit, 9);
  await client.removeWorkflowRateLimit("js_flow");
  assert.equal(await client.getWorkflowRateLimit("js_flow"), undefined);
  await client.setTaskTags([kind], "js_greet");
  await client.addTaskTag(team, "js_greet");
  assert.deepEqual(pairs(await client.getTaskTags("js_greet")), ["kind=test", "team=night"]);
  await client.deleteTaskTag(kind, "js_greet");
  assert.deepEqual(pairs(await client.getTaskTags("js_greet")), ["team=night"]);
}

/** Tags as text, in order. */
export function pairs(tags) {
  return tags.map((tag) => `${tag.key}=${tag.value}`).sort();
}
