"""Orchestrations that go on while their server and their workers are killed.

    durable_crash.py work LOG        a worker; every run of an activity is a line in LOG
    durable_crash.py start COUNT     starts instances and raises events, until all is acknowledged;
                                     says every id
    durable_crash.py judge LOG IDS   waits until all have ended and checks what came of them

The server's address is in ENDPOINT.
"""

import os
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import grpc
from durabletask import task
from durabletask.client import OrchestrationStatus, TaskHubGrpcClient
from durabletask.entities import EntityInstanceId
from durabletask.grpc_options import GrpcWorkerResiliencyOptions
from durabletask.history import ExecutionCompletedEvent, TaskCompletedEvent
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.worker import TaskHubGrpcWorker

EVENTS = 3
SHARDS = 4
PATIENCE = 240

log = None


def note(kind, instance, step):
    # One write of a short line: lines of several processes do not mix.
    os.write(log, f"{kind} {instance} {step}\n".encode())


def step(ctx, number):
    note("step", ctx.orchestration_id, number)
    return number + 1


def chain(ctx, shard):
    number = 0
    for _ in range(3):
        number = yield ctx.call_activity(step, input=number)
    ctx.signal_entity(EntityInstanceId("tally", str(shard)), "add", 1)
    return number


def hears(ctx, shard):
    """Ends when all events have come; one that comes twice counts once."""
    numbers = set()
    while len(numbers) < EVENTS:
        numbers.add((yield ctx.wait_for_external_event("number")))
    ctx.signal_entity(EntityInstanceId("tally", str(shard)), "add", 1)
    return sorted(numbers)


def waits(ctx, shard):
    yield ctx.create_timer(timedelta(milliseconds=700))
    return (yield ctx.call_sub_orchestrator(chain, input=shard))


def loops(ctx, left):
    if left == 0:
        return "looped"
    yield ctx.call_activity(step, input=left)
    ctx.continue_as_new(left - 1)


def tally(ctx, amount):
    if ctx.operation == "add":
        ctx.set_state(ctx.get_state(int, 0) + amount)
    return ctx.get_state(int, 0)


OUTPUTS = {"chain": 3, "hears": [0, 1, 2], "waits": 3, "loops": "looped"}


def work(path):
    global log
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    quick = GrpcWorkerResiliencyOptions(
        reconnect_backoff_base_seconds=0.1,
        reconnect_backoff_cap_seconds=0.5,
        channel_recreate_failure_threshold=1,
    )
    worker = TaskHubGrpcWorker(host_address=os.environ["ENDPOINT"], resiliency_options=quick)
    worker.add_activity(step)
    worker.add_entity(tally)
    for orchestrator in (chain, hears, waits, loops):
        worker.add_orchestrator(orchestrator)
    worker.start()
    threading.Event().wait()


def client():
    return TaskHubGrpcClient(host_address=os.environ["ENDPOINT"])


def insist(call, *, done=()):
    """Calls until it is acknowledged; `done` are refusals that say it was before."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() in done:
                return None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def start(count):
    kinds = list(OUTPUTS)
    mine = client()

    def begin(number):
        kind = kinds[number % len(kinds)]
        instance = f"crash-{kind}-{number}"
        given = 4 if kind == "loops" else number % SHARDS
        insist(
            # A policy that replaces nothing: what was started and has ended is not started again.
            lambda: mine.schedule_new_orchestration(
                kind,
                input=given,
                instance_id=instance,
                reuse_id_policy=pb.OrchestrationIdReusePolicy(),
            ),
            done=(grpc.StatusCode.ALREADY_EXISTS,),
        )
        if kind == "hears":
            for event in range(EVENTS):
                insist(lambda: mine.raise_orchestration_event(instance, "number", data=event))
        # In one write: lines of several threads do not mix.
        os.write(sys.stdout.fileno(), f"{instance}\n".encode())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(begin, range(count)))


def judge(path, ids):
    with open(ids, encoding="utf-8") as lines:
        started = [line.strip() for line in lines if line.strip()]
    mine = client()
    deadline = time.monotonic() + PATIENCE
    for number, instance in enumerate(started):
        left = max(1.0, deadline - time.monotonic())
        state = mine.wait_for_orchestration_completion(instance, timeout=left)
        kind = instance.split("-")[1]
        assert state is not None, f"{instance} is lost"
        assert state.runtime_status == OrchestrationStatus.COMPLETED, state
        assert state.get_output() == OUTPUTS[kind], state
        if number % 7 == 0:
            once(mine, instance, kind)
    with open(path, encoding="utf-8") as lines:
        runs = Counter(tuple(line.split()) for line in lines)
    for instance in started:
        if instance.startswith("crash-chain-"):
            for number in range(3):
                assert runs["step", instance, str(number)] >= 1, f"{instance}: no step {number}"
    for shard in range(SHARDS):
        expected = sum(
            1
            for instance in started
            if not instance.startswith("crash-loops-")
            and int(instance.rsplit("-", 1)[1]) % SHARDS == shard
        )
        counts(mine, shard, expected)
    repeated = sum(count - 1 for count in runs.values() if count > 1)
    print(f"{len(started)} instances, {sum(runs.values())} runs of activities, {repeated} repeated")
    print("all checks passed")


def counts(mine, shard, expected):
    """Every instance signalled once: no signal is lost, and none arrives twice."""
    deadline = time.monotonic() + 30
    while True:
        found = mine.get_entity(EntityInstanceId("tally", str(shard)))
        number = found.get_state(int) if found else 0
        if number == expected:
            return
        assert number < expected, f"tally {shard}: {number} of {expected}"
        assert time.monotonic() < deadline, f"tally {shard}: {number} of {expected}"
        time.sleep(0.1)


def once(mine, instance, kind):
    """The history tells one end, and one result for every activity."""
    history = mine.get_orchestration_history(instance)
    ends = [event for event in history if isinstance(event, ExecutionCompletedEvent)]
    assert len(ends) == 1, history
    if kind == "chain":
        results = [event for event in history if isinstance(event, TaskCompletedEvent)]
        assert len(results) == 3, history


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    {"work": work, "start": lambda n: start(int(n)), "judge": judge}[role](*rest)
