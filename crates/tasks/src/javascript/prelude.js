// Runs first in every realm, before any user code. It is parsed for every fresh realm, so it is
// short. No evaluation can tell from it what another did: realms may be shared.
//
// The interpreter looks at the deadline between the instructions of scripts, and in few of its own
// loops. The built-in functions whose loops could run for ever are bounded here: what they go
// through must be of a plain, bounded length, and what they iterate is handed to them by a script.
(function () {
  "use strict";
  const { apply, construct, ownKeys } = Reflect;
  const { defineProperty, getOwnPropertyDescriptor, getPrototypeOf } = Object;
  const { isArray } = Array;
  const { isView } = ArrayBuffer;
  const { iterator } = Symbol;
  const LENGTH_MAX = 4194304;

  const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";

  // Puts methods in the place of those of the same names, of which each gets the former one.
  function replace(target, names, make) {
    for (const name of names) {
      const property = getOwnPropertyDescriptor(target, name);
      if (!property || typeof property.value !== "function") continue;
      const value = make(property.value, name);
      for (const key of ["name", "length"]) {
        defineProperty(value, key, { value: property.value[key], configurable: true });
      }
      defineProperty(target, name, { value, writable: true, enumerable: false, configurable: true });
    }
  }

  // Proxies are remembered: they can say something else each time they are asked.
  const { has, add } = WeakSet.prototype;
  const proxies = new WeakSet();
  const isProxy = (value) => apply(has, proxies, [value]);
  const NativeProxy = Proxy;
  const remember = (proxy) => (apply(add, proxies, [proxy]), proxy);
  replace(globalThis, ["Proxy"], () => function Proxy(target, handler) {
    if (!new.target) throw new TypeError("Proxy must be called with new");
    return remember(new NativeProxy(target, handler));
  });
  replace(NativeProxy, ["revocable"], (native) => ({
    revocable(target, handler) {
      const made = native(target, handler);
      remember(made.proxy);
      return made;
    },
  }).revocable);
  defineProperty(Proxy, "revocable", getOwnPropertyDescriptor(NativeProxy, "revocable"));

  const typed = getPrototypeOf(Uint8Array.prototype);
  const lengthOfTyped = getOwnPropertyDescriptor(typed, "length").get;

  function refuse(name) {
    throw new RangeError(`${name}: at most ${LENGTH_MAX} elements of a plain length are gone through`);
  }

  // Lets a value pass whose length is bounded, and stays what it is.
  function bounded(value, name) {
    let length = 0;
    if (typeof value === "string") length = value.length;
    else if (!isObject(value)) return;
    else if (isProxy(value)) refuse(name);
    else if (isArray(value)) length = value.length;
    else if (isView(value)) length = value instanceof DataView ? 0 : apply(lengthOfTyped, value, []);
    else {
      for (let at = value; at !== null; at = getPrototypeOf(at)) {
        if (isProxy(at)) refuse(name);
        const property = getOwnPropertyDescriptor(at, "length");
        if (!property) continue;
        if (property.get || property.set || isObject(property.value)) refuse(name);
        length = property.value;
        break;
      }
    }
    if (length > LENGTH_MAX) refuse(name);
  }

  // What built-in functions iterate: one step of a script for each item.
  function* steps(items) {
    for (const item of items) yield item;
  }
  const stepped = (items) => (isObject(items) || typeof items === "string" ? steps(items) : items);
  function watched(inner) {
    if (!isObject(inner)) return inner;
    const { next } = inner;
    return {
      next: () => apply(next, inner, []),
      return() {
        const end = inner.return;
        return isObject(end) ? apply(end, inner, []) : {};
      },
    };
  }

  // Has methods look at what they are called on, and at what they are given.
  const guard = (target, names, look) => replace(target, names, (native, name) => ({
    [name](...given) {
      return apply(native, look(this, given, name), given);
    },
  })[name]);
  const all = (target, except) => ownKeys(target).filter((key) => !except.includes(key));

  const lists = Array.prototype;
  guard(lists, all(lists, ["constructor", "at", "push", "pop", "entries", "keys", "values", "flat", "flatMap", iterator]),
    (self, given, name) => {
      bounded(self, name);
      if (name === "concat") for (let i = 0; i < given.length; i++) bounded(given[i], name);
      return self;
    });
  guard(typed, all(typed, ["constructor", "at", "entries", "keys", "values", "subarray", iterator]), (self, given, name) => {
    bounded(self, name);
    if (name === "set") bounded(given[0], name);
    return self;
  });
  const from = (self, given) => {
    const items = given[0];
    if (isArray(items) && !isProxy(items) && items.length <= LENGTH_MAX) return self;
    if (isObject(items)) {
      if (items[iterator] === undefined || items[iterator] === null) bounded(items, "from");
      else given[0] = steps(items);
    }
    return self;
  };
  guard(Array, ["from"], from);
  guard(getPrototypeOf(Uint8Array), ["from"], from);
  guard(String, ["raw"], (self, given) => {
    const raw = given[0].raw;
    bounded(raw, "raw");
    given[0] = { raw };
    return self;
  });
  guard(JSON, ["stringify"], (self, given) => {
    if (isArray(given[0])) bounded(given[0], "stringify");
    if (isArray(given[1])) bounded(given[1], "stringify");
    return self;
  });
  const first = (self, given) => {
    given[0] = stepped(given[0]);
    return self;
  };
  guard(Object, ["fromEntries", "groupBy"], first);
  guard(Map, ["groupBy"], first);
  guard(Promise, ["all", "allSettled", "any", "race"], first);
  guard(Iterator.prototype, all(Iterator.prototype, ["constructor", iterator]), watched);
  guard(Set.prototype, ["union", "intersection", "difference", "symmetricDifference", "isSubsetOf", "isSupersetOf", "isDisjointFrom"],
    (self, given) => {
      const other = given[0];
      if (isObject(other)) {
        const { size, has, keys } = other;
        given[0] = { size, has: (item) => apply(has, other, [item]), keys: () => watched(apply(keys, other, [])) };
      }
      return self;
    });
  for (const name of ["Set", "Map", "WeakSet", "WeakMap", "AggregateError"]) {
    const native = globalThis[name];
    replace(globalThis, [name], () => function (items, ...given) {
      if (!new.target && name !== "AggregateError") throw new TypeError(`${name} must be called with new`);
      return construct(native, [stepped(items), ...given], new.target || native);
    });
    for (const key of ownKeys(native)) {
      defineProperty(globalThis[name], key, getOwnPropertyDescriptor(native, key));
    }
    native.prototype.constructor = globalThis[name];
  }

  // These two go as deep as they are told: they are scripts themselves.
  const put = (target, value) =>
    defineProperty(target, target.length, { value, writable: true, enumerable: true, configurable: true });
  function flatten(target, source, depth) {
    const { length } = source;
    for (let i = 0; i < length; i++) {
      if (!(i in source)) continue;
      const item = source[i];
      if (depth > 0 && isArray(item)) flatten(target, item, depth - 1);
      else put(target, item);
    }
    return target;
  }
  replace(lists, ["flat"], () => ({
    flat(depth) {
      return flatten([], Object(this), depth === undefined ? 1 : +depth);
    },
  }).flat);
  replace(lists, ["flatMap"], () => ({
    flatMap(action, self) {
      if (typeof action !== "function") throw new TypeError("not a function");
      const target = [];
      const source = Object(this);
      const { length } = source;
      for (let i = 0; i < length; i++) {
        if (!(i in source)) continue;
        const item = apply(action, self, [source[i], i, source]);
        if (isArray(item)) flatten(target, item, 0);
        else put(target, item);
      }
      return target;
    },
  }).flatMap);

  // Searching a long string for a long string is quadratic.
  guard(String.prototype, ["indexOf", "lastIndexOf", "includes", "split", "replace", "replaceAll"], (self, [sought]) => {
    if (typeof sought === "string" && sought.length > 1024 && self !== null && self !== undefined) {
      if (sought.length * `${self}`.length > 4e9) throw new RangeError("the strings are too long to search");
    }
    return self;
  });

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
