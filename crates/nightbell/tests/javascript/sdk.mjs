// Drives a Nightbell server with the official Conductor SDK, as its users would.
//
// Reads the server's address from CONDUCTOR_SERVER_URL. Ends with a line that says so if every check
// passed; any failed check ends it at once.

import { sdk } from "./checks/sdk.mjs";
import { events } from "./checks/events.mjs";
import { metadata } from "./checks/metadata.mjs";
import { schedules } from "./checks/schedules.mjs";
import { schemas } from "./checks/schemas.mjs";
import { search } from "./checks/search.mjs";
import { secrets } from "./checks/secrets.mjs";
import { waiting } from "./checks/waiting.mjs";
import { work, workers } from "./checks/work.mjs";

const clients = await sdk.OrkesClients.from();
const manager = new sdk.TaskManager(clients.getClient(), workers, {
  logger: sdk.noopLogger,
  options: { concurrency: 4, pollInterval: 20 },
});

try {
  await metadata(clients);
  manager.startPolling();
  const ids = await work(clients);
  await search(clients, ids);
  await waiting(clients);
  await schemas(clients);
  await secrets(clients);
  await schedules(clients);
  await events(clients);
} finally {
  await manager.stopPolling();
}
console.log("all checks passed");
// The SDK keeps connections open for a while; nothing is left to do on them.
process.exit(0);
