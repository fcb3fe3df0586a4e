// Answers `adopt`, which gives parsed JSON the methods that a host on the JVM has, and the
// prototypes that hold them. Keeps no state: realms may be shared by many evaluations.
(function () {
  "use strict";
  const { ownKeys } = Reflect;
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

  return { adopt, prototypes: [list, map, entry] };
})()
