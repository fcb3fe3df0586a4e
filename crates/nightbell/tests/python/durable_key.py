"""Drives a Nightbell server that asks for keys with the official Durable Task packages.

Reads the server's address from ENDPOINT and the key from CONDUCTOR_AUTH_SECRET. Ends with a line that
says so if every check passed; any failed check ends it at once.
"""

import os
import time

import grpc
from azure.core.credentials import AccessToken
from durabletask.azuremanaged.client import DurableTaskSchedulerClient
from durabletask.azuremanaged.worker import DurableTaskSchedulerWorker
from durabletask.client import OrchestrationStatus, TaskHubGrpcClient
from durabletask.worker import TaskHubGrpcWorker

ENDPOINT = os.environ["ENDPOINT"]
KEY = [("authorization", f"Bearer {os.environ['CONDUCTOR_AUTH_SECRET']}")]
WRONG = [("authorization", "Bearer nb_wrong")]


def greet(_, name):
    return f"hello {name}"


def greeting(context, name):
    return (yield context.call_activity(greet, input=name))


class Key:
    """A credential whose token is a key."""

    def __init__(self, key):
        self.key = key

    def get_token(self, *_, **__):
        return AccessToken(self.key, int(time.time()) + 86_400)


def managed(kind, key):
    credential = key and Key(key)
    return kind(host_address=ENDPOINT, secure_channel=False, taskhub="default", token_credential=credential)


def refused(client):
    try:
        client.get_orchestration_state("nobody")
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("a client without a key was let in")


def works(client, worker):
    with worker:
        worker.add_orchestrator(greeting)
        worker.add_activity(greet)
        worker.start()
        instance = client.schedule_new_orchestration(greeting, input="night")
        state = client.wait_for_orchestration_completion(instance, timeout=60)
        assert state.runtime_status == OrchestrationStatus.COMPLETED, state
        assert state.serialized_output == '"hello night"', state


def main():
    for client in (
        TaskHubGrpcClient(host_address=ENDPOINT),
        TaskHubGrpcClient(host_address=ENDPOINT, metadata=WRONG),
        managed(DurableTaskSchedulerClient, None),
        managed(DurableTaskSchedulerClient, "nb_wrong"),
    ):
        code, _ = refused(client)
        assert code == grpc.StatusCode.UNAUTHENTICATED, code
    # Whoever connects without a credential is told how one is passed.
    _, details = refused(managed(DurableTaskSchedulerClient, None))
    for words in ("authorization: Bearer", "credential", "docs/security.md"):
        assert words in details, details
    works(
        TaskHubGrpcClient(host_address=ENDPOINT, metadata=KEY),
        TaskHubGrpcWorker(host_address=ENDPOINT, metadata=KEY),
    )
    secret = os.environ["CONDUCTOR_AUTH_SECRET"]
    works(managed(DurableTaskSchedulerClient, secret), managed(DurableTaskSchedulerWorker, secret))
    print("all checks passed")


if __name__ == "__main__":
    main()
