"""Suspend and resume, while no worker is there to hear of it and under load: every activity runs once.

An SDK that is told of a suspension in the same turn as of what made it go on asks for its next
activity in every turn until it is resumed.
"""

import collections
import os
import random
import threading
from datetime import timedelta

from durabletask.client import OrchestrationStatus
from durabletask.task import RetryPolicy

from scenarios import Stage, stands, until

# Orchestrations at a time; 120 by hand.
COUNT = int(os.environ.get("NIGHTBELL_TEST_SUSPENDED", "24"))
STEPS = 6

runs = collections.Counter()
lock = threading.Lock()


def register(_):
    """Its workers are its own: they come and go."""


def work(ctx, step):
    with lock:
        runs[ctx.orchestration_id, step] += 1
        attempt = runs[ctx.orchestration_id, step]
    if step == 4 and attempt == 1:
        raise RuntimeError("the first attempt fails")
    return step


def leaf(ctx, step):
    return (yield ctx.call_activity(work, input=step))


def steps(ctx, begins):
    if begins:
        yield ctx.wait_for_external_event("begin")
    total = 0
    policy = RetryPolicy(first_retry_interval=timedelta(milliseconds=50), max_number_of_attempts=3)
    for step in range(STEPS):
        if step % 3 == 1:
            yield ctx.create_timer(timedelta(milliseconds=20))
        if step % 3 == 2:
            total += yield ctx.call_sub_orchestrator(leaf, input=step)
        else:
            total += yield ctx.call_activity(work, input=step, retry_policy=policy)
    return total


def worker_of(stage):
    worker = stage.worker()
    worker.add_activity(work)
    worker.add_orchestrator(steps)
    worker.add_orchestrator(leaf)
    return worker


def each_ran_once(stage, ids):
    for instance in ids:
        state = stage.ended(instance)
        assert state.runtime_status == OrchestrationStatus.COMPLETED, state
        assert state.get_output() == sum(range(STEPS)), state
    with lock:
        again = {key: count for key, count in runs.items() if count != (2 if key[1] == 4 else 1)}
        runs.clear()
    assert not again, again


def while_no_worker_is_there(stage):
    stage = Stage(stage.endpoint, hub="suspended-alone")
    with worker_of(stage) as worker:
        worker.start()
        ids = [stage.start(steps, input=True) for _ in range(COUNT)]
        for instance in ids:
            stage.until(instance, stands(OrchestrationStatus.RUNNING))
    for instance in ids:
        stage.client.raise_orchestration_event(instance, "begin")
        stage.client.suspend_orchestration(instance)
    with worker_of(stage) as worker:
        worker.start()
        for instance in ids:
            stage.until(instance, stands(OrchestrationStatus.SUSPENDED))
        # What comes meanwhile makes turns, in which nothing is to happen.
        for _ in range(4):
            for instance in ids:
                stage.client.raise_orchestration_event(instance, "noise")
        until(lambda: sum(runs.values()), lambda count: count >= len(ids))
        for instance in ids:
            stage.client.suspend_orchestration(instance)
            stage.client.resume_orchestration(instance)
            stage.client.resume_orchestration(instance)
        each_ran_once(stage, ids)


def under_load(stage):
    stage = Stage(stage.endpoint, hub="suspended-busy")
    draw = random.Random(7)
    with worker_of(stage) as worker:
        worker.start()
        ids = [stage.start(steps, input=False) for _ in range(COUNT)]
        for _ in range(3):
            draw.shuffle(ids)
            for instance in ids:
                stage.client.suspend_orchestration(instance)
            for instance in ids:
                settled = lambda state: state.runtime_status not in (  # noqa: E731
                    OrchestrationStatus.PENDING,
                    OrchestrationStatus.RUNNING,
                )
                stage.until(instance, settled)
                stage.client.resume_orchestration(instance)
        each_ran_once(stage, ids)


CHECKS = [while_no_worker_is_there, under_load]
