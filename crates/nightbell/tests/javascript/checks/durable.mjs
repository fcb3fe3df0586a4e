// The Durable Task package, wherever it is installed, and what every check needs of it.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const folder = process.env.NIGHTBELL_TEST_NODE_MODULES;
assert(folder, "NIGHTBELL_TEST_NODE_MODULES names no folder with the SDK");

const require = createRequire(`${folder}/`);

export const durable = require("@microsoft/durabletask-js");
const { Metadata } = require("@grpc/grpc-js");

/** Metadata of a call. */
export function metadata(entries) {
  const made = new Metadata();
  for (const [name, value] of Object.entries(entries)) made.set(name, value);
  return made;
}
