"""A worker of the official Conductor SDK with a key, which works until its standard input ends.

Reads the server's address from CONDUCTOR_SERVER_URL, the key from CONDUCTOR_AUTH_KEY and
CONDUCTOR_AUTH_SECRET, and the type of its tasks from TASK_TYPE.
"""

import os
import sys

from conductor.client.automator.task_handler import TaskHandler
from conductor.client.configuration.configuration import Configuration
from conductor.client.worker.worker_task import worker_task


@worker_task(task_definition_name=os.environ["TASK_TYPE"], poll_interval_millis=50)
def step() -> dict:
    return {}


def main():
    configuration = Configuration(server_api_url=os.environ["CONDUCTOR_SERVER_URL"])
    handler = TaskHandler(configuration=configuration, scan_for_annotated_workers=True)
    handler.start_processes()
    sys.stdin.read()
    handler.stop_processes()


if __name__ == "__main__":
    main()
