// Workflows and tasks are found by query, by free text and by correlation id, page by page.

import assert from "node:assert/strict";
import { refused } from "./sdk.mjs";

export async function search(clients, ids) {
  const client = clients.getWorkflowClient();
  const query = "workflowType = 'js_flow' AND status = 'COMPLETED' AND correlationId = 'js'";
  const found = [];
  for (let start = 0; start < ids.length; start += 7) {
    const page = await client.search(start, 7, query, "*", "startTime:ASC", true);
    assert.equal(page.totalHits, ids.length);
    found.push(...page.results);
  }
  assert.deepEqual(found.map((row) => row.workflowId).sort(), [...ids].sort());
  const times = found.map((row) => Date.parse(row.startTime));
  assert.deepEqual(times, [...times].sort((a, b) => a - b), "sorted by start time");

  const failed = await client.search(0, 10, "workflowType IN (js_flow) AND status = FAILED", "*");
  assert.equal(failed.results.length, 1);
  await refused(client.search(0, 10, "colour = red", "*"), /colour/);

  const correlated = await client.getByCorrelationIds(
    { workflowNames: ["js_flow"], correlationIds: ["js", "at once"] },
    true,
    false,
  );
  assert.equal(correlated["js"].length, ids.length);
  assert.equal(correlated["at once"].length, 1);

  const rows = await clients
    .getTaskClient()
    .search(0, 100, undefined, "*", `workflowId = '${ids[0]}' AND status = 'COMPLETED'`);
  assert(rows.results.length >= 2);
  assert(rows.results.every((row) => row.workflowId === ids[0]));
}
