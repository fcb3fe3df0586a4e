// Makes every object that exists before user code immutable, so that a shared realm has nothing
// in which one evaluation could leave a trace for the next.
(function () {
  "use strict";
  const { freeze, getOwnPropertyDescriptor, getPrototypeOf } = Object;
  const { ownKeys } = Reflect;
  const seen = new Set();
  const waiting = [];

  function visit(value) {
    const holds = typeof value === "object" ? value !== null : typeof value === "function";
    if (holds && !seen.has(value)) {
      seen.add(value);
      waiting.push(value);
    }
  }

  for (let i = 0; i < arguments.length; i++) visit(arguments[i]);
  visit(globalThis);
  // Intrinsics that only syntax or a living iterator leads to.
  visit(function* () {});
  visit(async function () {});
  visit(async function* () {});
  visit((function* () {})());
  visit((async function* () {})());
  visit([][Symbol.iterator]());
  visit(""[Symbol.iterator]());
  visit(new Map()[Symbol.iterator]());
  visit(new Set()[Symbol.iterator]());
  visit("".matchAll(/x/g));
  visit(Iterator.from({ next() {} }));
  visit([].values().map((item) => item));
  visit(Promise.prototype);

  while (waiting.length > 0) {
    const object = waiting.pop();
    visit(getPrototypeOf(object));
    for (const key of ownKeys(object)) {
      const property = getOwnPropertyDescriptor(object, key);
      visit(property.value);
      visit(property.get);
      visit(property.set);
    }
    freeze(object);
  }
})
