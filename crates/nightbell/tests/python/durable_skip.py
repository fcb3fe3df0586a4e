"""Drives a server on which waiting takes no time: an orchestration that sleeps for days.

Reads the server's address from ENDPOINT. Ends with a line that says so if every check passed.
"""

import os
import time

from scenarios import PATIENCE, Stage
from scenarios.patterns import timed

DAY = 24 * 3_600_000


def main():
    stage = Stage(os.environ["ENDPOINT"], hub=None)
    with stage.worker() as worker:
        worker.add_orchestrator(timed)
        worker.start()
        begun = time.monotonic()
        waited = stage.result(timed, input=5 * DAY)
        assert 5 * DAY <= waited < 6 * DAY, waited
        assert time.monotonic() - begun < PATIENCE
    print("all checks passed")


if __name__ == "__main__":
    main()
