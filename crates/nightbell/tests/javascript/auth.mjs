// A worker of the official Conductor SDK with a key, which works until its standard input ends.
//
// Reads the server's address from CONDUCTOR_SERVER_URL, the key from CONDUCTOR_AUTH_KEY and
// CONDUCTOR_AUTH_SECRET, and the type of its tasks from TASK_TYPE.

import { sdk } from "./checks/sdk.mjs";

const worker = {
  taskDefName: process.env.TASK_TYPE,
  execute: async () => ({ status: "COMPLETED", outputData: {} }),
};
const clients = await sdk.OrkesClients.from();
const manager = new sdk.TaskManager(clients.getClient(), [worker], {
  logger: sdk.noopLogger,
  options: { concurrency: 1, pollInterval: 50 },
});
manager.startPolling();
for await (const _ of process.stdin) {
  // Whoever started it says nothing, and goes away when it is no longer needed.
}
process.exit(0);
