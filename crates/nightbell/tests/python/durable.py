"""Drives a Nightbell server with the official Durable Task packages, as their users would.

Reads the server's address from ENDPOINT. Once with `durabletask.azuremanaged` in a task hub of its
own, once with plain `durabletask`, which names no hub. Ends with a line that says so if every check
passed; any failed check ends it at once. With `--memory` it drives the package's own in-memory
server instead, and leaves out what that cannot do: this is how the checks themselves are checked.
"""

import os
import sys

from scenarios import (
    Stage,
    children,
    control,
    entities,
    legacy,
    patterns,
    suspending,
    versions,
    wire,
)

SCENARIOS = [patterns, children, control, entities]


def main():
    if "--memory" in sys.argv:
        from durabletask.testing import create_test_backend

        backend = create_test_backend(port=50077)
        try:
            run(Stage("localhost:50077", hub=None, is_ours=False), SCENARIOS)
        finally:
            backend.stop()
    else:
        endpoint = os.environ["ENDPOINT"]
        run(Stage(endpoint, hub="sdk"), [*SCENARIOS, suspending, wire, legacy, versions])
        run(Stage(endpoint, hub=None), [patterns, versions])
    print("all checks passed")


def run(stage, scenarios):
    with stage.worker() as worker:
        for scenario in scenarios:
            scenario.register(worker)
        worker.start()
        for scenario in scenarios:
            for check in scenario.CHECKS:
                print(f"{stage.name}: {scenario.__name__}: {check.__name__}", flush=True)
                check(stage)


if __name__ == "__main__":
    main()
