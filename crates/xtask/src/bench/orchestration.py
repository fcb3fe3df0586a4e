"""The Python side of the measurements of orchestrations.

    orchestration.py serve ADDRESS               the package's own server, in memory
    orchestration.py drive ADDRESS COUNT IDLE    a worker and a client; says its figures as JSON
"""

import json
import logging
import sys
import threading
import time

import grpc
from durabletask.client import OrchestrationStatus, TaskHubGrpcClient
from durabletask.worker import ConcurrencyOptions, TaskHubGrpcWorker

IN_FLIGHT = 64


def echo(_, text):
    return text


def chain(ctx, text):
    for _ in range(3):
        text = yield ctx.call_activity(echo, input=text)
    return text


def serve(address):
    from durabletask.testing import create_test_backend

    create_test_backend(port=int(address.rsplit(":", 1)[1]))
    threading.Event().wait()


def drive(address, count, idle):
    logging.disable(logging.CRITICAL)
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
    limits = ConcurrencyOptions(
        maximum_concurrent_activity_work_items=100,
        maximum_concurrent_orchestration_work_items=100,
    )
    with TaskHubGrpcWorker(host_address=address, concurrency_options=limits) as worker:
        worker.add_activity(echo)
        worker.add_orchestrator(chain)
        worker.start()
        client = TaskHubGrpcClient(host_address=address)
        run(client)
        took = sorted(run(client) for _ in range(idle))
        begun = time.monotonic()
        # The package's server holds a thread per wait and has ten: so nobody waits for more than
        # the oldest.
        waiting = []
        for _ in range(count):
            waiting.append(start(client))
            if len(waiting) >= IN_FLIGHT:
                ended(client, waiting.pop(0))
        for instance in waiting:
            ended(client, instance)
        rate = count / (time.monotonic() - begun)
        client.close()
    share = lambda part: took[round((len(took) - 1) * part)] * 1000  # noqa: E731
    print(json.dumps({"rate": rate, "idle_p50": share(0.5), "idle_p99": share(0.99)}))


def start(client):
    return client.schedule_new_orchestration(chain, input="hello world")


def ended(client, instance):
    state = client.wait_for_orchestration_completion(instance, timeout=60)
    assert state.runtime_status == OrchestrationStatus.COMPLETED, state


def run(client):
    begun = time.monotonic()
    ended(client, start(client))
    return time.monotonic() - begun


if __name__ == "__main__":
    role, address, *rest = sys.argv[1:]
    {"serve": serve, "drive": drive}[role](address, *map(int, rest))
