"""Drives a Nightbell server with the official Conductor SDK, as its users would.

Reads the server's address from CONDUCTOR_SERVER_URL. Ends with a line that says so if every check
passed; any failed check ends it at once.
"""

import os

from conductor.client.automator.task_handler import TaskHandler
from conductor.client.configuration.configuration import Configuration
from conductor.client.orkes_clients import OrkesClients

from checks import events, metadata, schedules, schemas, search, vault, waiting, work


def main():
    configuration = Configuration(server_api_url=os.environ["CONDUCTOR_SERVER_URL"])
    clients = OrkesClients(configuration)
    metadata.check(clients)
    handler = TaskHandler(configuration=configuration, scan_for_annotated_workers=True)
    handler.start_processes()
    try:
        ids = work.check(clients)
        search.check(clients, ids)
        waiting.check(clients)
        schemas.check(clients)
        vault.check(clients)
        schedules.check(clients)
        events.check(clients)
    finally:
        handler.stop_processes()
    print("all checks passed")


if __name__ == "__main__":
    main()
