"""Drives a Nightbell server that asks for keys with the official Durable Task package.

Reads the server's address from ENDPOINT and the key from CONDUCTOR_AUTH_SECRET. Ends with a line that
says so if every check passed; any failed check ends it at once.
"""

import os

import grpc
from durabletask.client import OrchestrationStatus, TaskHubGrpcClient
from durabletask.worker import TaskHubGrpcWorker

ENDPOINT = os.environ["ENDPOINT"]
KEY = [("authorization", f"Bearer {os.environ['CONDUCTOR_AUTH_SECRET']}")]
WRONG = [("authorization", "Bearer nb_wrong")]


def greet(_, name):
    return f"hello {name}"


def greeting(context, name):
    return (yield context.call_activity(greet, input=name))


def refused(metadata):
    client = TaskHubGrpcClient(host_address=ENDPOINT, metadata=metadata)
    try:
        client.get_orchestration_state("nobody")
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError(f"{metadata} was let in")


def main():
    for metadata in (None, WRONG):
        code, details = refused(metadata)
        assert code == grpc.StatusCode.UNAUTHENTICATED, code
    assert "authorization: Bearer" in refused(None)[1]
    with TaskHubGrpcWorker(host_address=ENDPOINT, metadata=KEY) as worker:
        worker.add_orchestrator(greeting)
        worker.add_activity(greet)
        worker.start()
        client = TaskHubGrpcClient(host_address=ENDPOINT, metadata=KEY)
        instance = client.schedule_new_orchestration(greeting, input="night")
        state = client.wait_for_orchestration_completion(instance, timeout=60)
        assert state.runtime_status == OrchestrationStatus.COMPLETED, state
        assert state.serialized_output == '"hello night"', state
    print("all checks passed")


if __name__ == "__main__":
    main()
