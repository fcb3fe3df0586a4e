// A schedule fires, is found among its executions, is paused and resumed, and goes.

import assert from "node:assert/strict";
import { pairs } from "./metadata.mjs";
import { define, ended, eventually, refused, sdk } from "./sdk.mjs";

export async function schedules(clients) {
  const client = clients.getSchedulerClient();
  await define(clients, "js_tick", [sdk.setVariableTask("note", { fired: true })]);
  const name = "js_every_second";
  await client.saveSchedule({
    name,
    cronExpression: "* * * * * *",
    zoneId: "Europe/Berlin",
    description: "of the test",
    startWorkflowRequest: { name: "js_tick", version: 1, input: { from: "schedule" } },
  });
  const stored = await client.getSchedule(name);
  assert.equal(stored.cronExpression, "* * * * * *");
  assert.equal(stored.zoneId, "Europe/Berlin");
  assert.equal(stored.startWorkflowRequest.name, "js_tick");
  await fires(clients, client, name);

  await client.pauseSchedule(name, "enough");
  const paused = await client.getSchedule(name);
  assert.equal(paused.paused, true);
  assert.equal(paused.pausedReason, "enough");
  await client.resumeSchedule(name);
  assert.equal((await client.getSchedule(name)).paused, false);

  await client.setSchedulerTags([{ key: "team", value: "night", type: "METADATA" }], name);
  assert.deepEqual(pairs(await client.getSchedulerTags(name)), ["team=night"]);
  await client.deleteSchedulerTags([{ key: "team", value: "night", type: "METADATA" }], name);
  assert.deepEqual(await client.getSchedulerTags(name), []);

  const names = (await client.getAllSchedules("js_tick")).map((schedule) => schedule.name);
  assert.deepEqual(names, [name]);
  await client.deleteSchedule(name);
  assert.deepEqual(await client.getAllSchedules("js_tick"), []);
  await next(client);
}

async function fires(clients, client, name) {
  const row = await eventually(`${name} fires`, async () => {
    const query = `scheduleName = '${name}'`;
    const page = await client.search(0, 10, "scheduledTime:DESC", "*", query);
    return page.results.find((found) => found.state === "EXECUTED");
  });
  assert.equal(row.scheduleName, name);
  assert.equal(row.workflowName, "js_tick");
  assert.equal(row.scheduledTime % 1000, 0);
  const workflow = await ended(clients, row.workflowId);
  assert.equal(workflow.status, "COMPLETED", workflow.reasonForIncompletion);
  assert.equal(workflow.input.from, "schedule");
}

async function next(client) {
  const start = Date.UTC(2100, 0, 1);
  const times = await client.getNextFewSchedules("0 0 9 * * MON", start, undefined, 3);
  const days = times.map((time) => new Date(time).toISOString());
  assert.deepEqual(days, [
    "2100-01-04T09:00:00.000Z",
    "2100-01-11T09:00:00.000Z",
    "2100-01-18T09:00:00.000Z",
  ]);
  await refused(client.getNextFewSchedules("not a cron line"), /Validation failed/);
}
