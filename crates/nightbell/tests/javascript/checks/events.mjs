// An event of one workflow starts another through a handler.

import assert from "node:assert/strict";
import { pairs } from "./metadata.mjs";
import { define, ended, eventually, refused, sdk } from "./sdk.mjs";

const EVENT = "conductor:js_sender:told";

export async function events(clients) {
  const client = clients.getEventClient();
  await define(clients, "js_heard", [sdk.setVariableTask("note", { heard: true })]);
  await define(clients, "js_sender", [
    { ...sdk.eventTask("told", "conductor", "told"), inputParameters: { word: "${workflow.input.word}" } },
  ]);
  const handler = {
    name: "js_on_told",
    event: EVENT,
    active: true,
    actions: [
      {
        action: "start_workflow",
        start_workflow: { name: "js_heard", version: 1, input: { word: "${word}" } },
      },
    ],
  };
  await client.addEventHandler(handler);
  assert.equal((await client.getEventHandlerByName("js_on_told")).event, EVENT);
  const all = (await client.getAllEventHandlers()).map((found) => found.name);
  assert(all.includes("js_on_told"));
  await acts(clients);

  const messages = await client.getEventMessages(EVENT);
  assert.equal(messages.length, 1);
  assert.equal(messages[0].eventExecutions[0].name, "js_on_told");
  assert.equal((await client.getEventHandlersWithStats()).results[0].numberOfMessages, 1);
  assert.equal((await client.testConnectivity({ sink: "conductor:js" })).successful, true);
  assert.equal((await client.testConnectivity({ sink: "nats:js" })).successful, false);
  await refused(client.putQueueConfig("nats", "js", "{}"), /settings of the server|cannot be changed/);
  await refused(client.deleteQueueConfig("nats", "js"), /settings of the server|cannot be changed/);
  assert.equal((await client.test()).active, false);
  await client.handleIncomingEvent({ event: EVENT, word: "dong" });

  await client.updateEventHandler({ ...handler, active: false });
  assert.deepEqual(await client.getEventHandlersForEvent(EVENT, true), []);
  assert.equal((await client.getEventHandlersForEvent(EVENT, false)).length, 1);
  await client.putTagForEventHandler("js_on_told", [{ key: "team", value: "night" }]);
  assert.deepEqual(pairs(await client.getTagsForEventHandler("js_on_told")), ["team=night"]);
  await client.removeEventHandler("js_on_told");
  await refused(client.getEventHandlerByName("js_on_told"), /js_on_told not found/);
}

async function acts(clients) {
  const client = clients.getWorkflowClient();
  const request = { name: "js_sender", version: 1, input: { word: "ding" } };
  const sent = await ended(clients, await client.startWorkflow(request));
  assert.equal(sent.status, "COMPLETED", sent.reasonForIncompletion);
  const row = await eventually("the workflow that the handler starts", async () => {
    const page = await client.search(0, 10, "workflowType = js_heard AND status = COMPLETED", "*");
    return page.results[0];
  });
  const heard = await client.getWorkflow(row.workflowId, true);
  assert.equal(heard.input.word, "ding");
}
