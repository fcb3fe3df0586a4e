// Logging belongs to the host: scripts may call it, nothing happens.
(function () {
  const log = () => {};
  const console = {
    log, info: log, warn: log, error: log, debug: log, trace: log, dir: log, table: log,
    assert: log, group: log, groupEnd: log, time: log, timeEnd: log, count: log,
  };
  const property = { value: console, writable: true, configurable: true };
  Object.defineProperty(globalThis, "console", property);
})()
