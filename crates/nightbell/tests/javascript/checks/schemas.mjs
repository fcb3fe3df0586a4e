// Schemas are kept by name and version.

import assert from "node:assert/strict";
import { refused } from "./sdk.mjs";

export async function schemas(clients) {
  const client = clients.getSchemaClient();
  const data = { type: "object", required: ["name"] };
  await client.registerSchema([{ name: "js_person", version: 1, type: "JSON", data }]);
  assert.deepEqual((await client.getSchema("js_person", 1)).data, data);
  const names = (await client.getAllSchemas()).map((schema) => schema.name);
  assert(names.includes("js_person"));
  await client.deleteSchema("js_person", 1);
  await refused(client.getSchema("js_person", 1), /No such schema found by name: js_person/);
}
