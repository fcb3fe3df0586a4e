// Runs first in every realm, before any user code. It is parsed for every fresh realm, so it is
// short. Nothing here keeps state: realms may be shared by many evaluations.
(function () {
  "use strict";
  const { apply } = Reflect;
  const { defineProperty } = Object;

  // Searching a long string for a long string is quadratic and never looks at the deadline.
  const text = String.prototype;
  for (const name of ["indexOf", "lastIndexOf", "includes", "split", "replace", "replaceAll"]) {
    const native = text[name];
    text[name] = function (sought) {
      if (typeof sought === "string" && sought.length > 1024 && this != null) {
        if (sought.length * `${this}`.length > 4e9) {
          throw new RangeError("the strings are too long to search");
        }
      }
      return apply(native, this, arguments);
    };
  }

  // A result may hold a BigInt; JSON has no such type.
  defineProperty(BigInt.prototype, "toJSON", {
    value() {
      const number = Number(this);
      return Number.isSafeInteger(number) ? number : `${this}`;
    },
  });

  // These two write to the engine's own state rather than to a property.
  delete Error.stackTraceLimit;
  delete Error.prepareStackTrace;
})()
