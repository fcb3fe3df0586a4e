// A secret is written, used and listed, and its value never comes out again.

import assert from "node:assert/strict";
import { pairs } from "./metadata.mjs";
import { define, ended, refused, sdk } from "./sdk.mjs";

const VALUE = "s3cr3t-of-the-javascript-sdk";

export async function secrets(clients) {
  const client = clients.getSecretClient();
  await client.putSecret("js_token", VALUE);
  assert((await client.listAllSecretNames()).includes("js_token"));
  assert((await client.listSecretsThatUserCanGrantAccessTo()).includes("js_token"));
  assert.equal(await client.secretExists("js_token"), true);
  await refused(client.getSecret("js_token"), /js_token cannot be read: secrets are write-only/);

  await client.setSecretTags([{ key: "team", value: "night", type: "METADATA" }], "js_token");
  assert.deepEqual(pairs(await client.getSecretTags("js_token")), ["team=night"]);
  await client.deleteSecretTags([{ key: "team", value: "night", type: "METADATA" }], "js_token");
  assert.deepEqual(await client.getSecretTags("js_token"), []);

  await use(clients);
  await client.deleteSecret("js_token");
  assert(!(await client.listAllSecretNames()).includes("js_token"));
}

/** A worker is handed what nobody is shown. */
async function use(clients) {
  const text = "${workflow.secrets.js_token}";
  await define(clients, "js_secret", [sdk.simpleTask("count", "js_count", { text })]);
  const id = await clients.getWorkflowClient().startWorkflow({ name: "js_secret", version: 1 });
  const workflow = await ended(clients, id);
  assert.equal(workflow.status, "COMPLETED", workflow.reasonForIncompletion);
  assert.equal(workflow.tasks[0].outputData.letters, VALUE.length);
  assert(!JSON.stringify(workflow).includes(VALUE), "the value is masked");
}
