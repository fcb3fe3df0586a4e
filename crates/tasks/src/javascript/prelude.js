// Runs first in every realm, before any user code, and answers `adopt`, which turns parsed
// JSON into `$`, with the prototypes that it gives. Nothing here keeps state: realms may be shared by many evaluations.
(function () {
  "use strict";
  const { apply, ownKeys } = Reflect;
  const { create, defineProperty, hasOwn, keys, setPrototypeOf } = Object;
  const { isArray } = Array;

  // Adds methods as built-in ones are: writable, but seen by no enumeration.
  function equip(target, methods) {
    for (const name of ownKeys(methods)) {
      defineProperty(target, name, { value: methods[name], writable: true, configurable: true });
    }
    return target;
  }

  // Definitions written for a host on the JVM call Java's methods on the input's maps and lists.
  // They live on prototypes that only converted input has: on Object.prototype a `get` would be
  // inherited by property descriptors and break Object.defineProperty.
  const list = equip(create(Array.prototype), {
    get(index) {
      if (index >= 0 && index < this.length) return this[index];
      throw new RangeError(`index ${index} is outside a list of ${this.length}`);
    },
    size() { return this.length; },
    isEmpty() { return this.length === 0; },
    contains(item) { return this.includes(item); },
    containsAll(items) { return items.every((item) => this.includes(item)); },
    add(...items) {
      if (items.length > 1) this.splice(items[0], 0, items[1]);
      else this.push(items[0]);
      return true;
    },
    addAll(items) { this.push(...items); return items.length > 0; },
    set(index, item) {
      const before = this.get(index);
      this[index] = item;
      return before;
    },
    remove(item) {
      const index = typeof item === "number" ? item : this.indexOf(item);
      const [removed] = index < 0 ? [] : this.splice(index, 1);
      return typeof item === "number" ? removed : index >= 0;
    },
    toArray() { return [...this]; },
  });

  const entry = equip(create(Object.prototype), {
    getKey() { return this.key; },
    getValue() { return this.value; },
  });

  const asList = (items) => setPrototypeOf(items, list);

  // A member of the input may itself be named `get` or `put`, so no method calls another.
  const at = (object, key) => (hasOwn(object, key) ? object[key] : null);
  const assign = (object, key, value) =>
    defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });

  const map = equip(create(Object.prototype), {
    get(key) { return at(this, key); },
    getOrDefault(key, otherwise) { return hasOwn(this, key) ? this[key] : otherwise; },
    containsKey(key) { return hasOwn(this, key); },
    containsValue(value) { return keys(this).some((key) => this[key] === value); },
    size() { return keys(this).length; },
    isEmpty() { return keys(this).length === 0; },
    keySet() { return asList(keys(this)); },
    values() { return asList(keys(this).map((key) => this[key])); },
    entrySet() {
      return asList(keys(this).map((key) => assign(assign(create(entry), "key", key), "value", this[key])));
    },
    forEach(action) { for (const key of keys(this)) action(key, this[key]); },
    put(key, value) {
      const before = at(this, key);
      assign(this, key, value);
      return before;
    },
    putAll(other) { for (const key of keys(other)) assign(this, key, other[key]); },
    remove(key) {
      const before = at(this, key);
      delete this[key];
      return before;
    },
  });

  // The input is a tree fresh from the JSON parser: no cycles, no accessors, no foreign prototypes.
  function adopt(value) {
    if (typeof value !== "object" || value === null) return value;
    if (isArray(value)) {
      for (let i = 0; i < value.length; i++) {
        if (typeof value[i] === "object") adopt(value[i]);
      }
      return setPrototypeOf(value, list);
    }
    for (const key in value) {
      if (typeof value[key] === "object") adopt(value[key]);
    }
    return setPrototypeOf(value, map);
  }

  // Searching a long string for a long string is quadratic and never looks at the deadline.
  const text = String.prototype;
  for (const name of ["indexOf", "lastIndexOf", "includes", "split", "replace", "replaceAll"]) {
    const native = text[name];
    const guarded = {
      [name](sought, other) {
        if (typeof sought === "string" && sought.length > 1024 && this != null) {
          if (sought.length * `${this}`.length > 4e9) {
            throw new RangeError("the strings are too long to search");
          }
        }
        return apply(native, this, arguments);
      },
    }[name];
    defineProperty(guarded, "length", { value: native.length, configurable: true });
    equip(text, { [name]: guarded });
  }

  // A result may hold a BigInt; JSON has no such type.
  equip(BigInt.prototype, {
    toJSON() {
      const number = Number(this);
      return Number.isSafeInteger(number) ? number : `${this}`;
    },
  });

  // Logging belongs to the host; scripts may call it, nothing happens.
  const silent = {};
  for (const name of [
    "log", "info", "warn", "error", "debug", "trace", "dir", "table", "assert", "group",
    "groupEnd", "time", "timeEnd", "count",
  ]) {
    silent[name] = { [name]() {} }[name];
  }
  equip(globalThis, { console: silent });

  // These two write to the engine's own state rather than to a property.
  delete Error.stackTraceLimit;
  delete Error.prepareStackTrace;

  return { adopt, prototypes: [list, map, entry] };
})()
