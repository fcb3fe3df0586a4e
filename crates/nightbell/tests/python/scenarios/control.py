"""What operators do: suspend, resume, terminate, purge, restart, rewind, and look."""

from datetime import datetime, timedelta, timezone

import grpc
from durabletask.client import OrchestrationQuery, OrchestrationStatus

from scenarios import PATIENCE, refused, stands, unique

is_broken = {"now": True}


def register(worker):
    worker.add_activity(mend)
    for orchestrator in (waits, parent_of_waits, repairable, greets):
        worker.add_orchestrator(orchestrator)


def mend(_, word):
    if is_broken["now"]:
        raise RuntimeError("still broken")
    return f"mended {word}"


def greets(ctx, name):
    return f"hello {name}"


def waits(ctx, _):
    return (yield ctx.wait_for_external_event("go"))


def parent_of_waits(ctx, child_id):
    return (yield ctx.call_sub_orchestrator(waits, instance_id=child_id))


def repairable(ctx, word):
    return (yield ctx.call_activity(mend, input=word))


def suspends_and_resumes(stage):
    instance = stage.start(waits)
    stage.client.wait_for_orchestration_start(instance, timeout=PATIENCE)
    stage.client.suspend_orchestration(instance, reason="lunch")
    stage.until(instance, stands(OrchestrationStatus.SUSPENDED))
    stage.client.raise_orchestration_event(instance, "go", data="kept")
    stage.client.resume_orchestration(instance)
    assert stage.ended(instance).get_output() == "kept"


def terminates(stage):
    instance = stage.start(waits)
    stage.client.wait_for_orchestration_start(instance, timeout=PATIENCE)
    stage.client.terminate_orchestration(instance, output={"why": "enough"})
    state = stage.ended(instance)
    assert state.runtime_status == OrchestrationStatus.TERMINATED, state
    assert state.get_output() == {"why": "enough"}, state


def terminates_children(stage):
    if not stage.is_ours:
        return
    child = unique("child")
    parent = stage.start(parent_of_waits, input=child)
    stage.until(child, stands(OrchestrationStatus.RUNNING))
    stage.client.terminate_orchestration(parent, recursive=True)
    assert stage.ended(parent).runtime_status == OrchestrationStatus.TERMINATED
    assert stage.ended(child).runtime_status == OrchestrationStatus.TERMINATED


def purges(stage):
    instance = stage.start(greets, input="you")
    stage.ended(instance)
    assert stage.client.purge_orchestration(instance).deleted_instance_count == 1
    assert stage.state(instance) is None
    assert stage.client.purge_orchestration(instance).deleted_instance_count == 0


def purges_by_filter(stage):
    begun = datetime.now(timezone.utc) - timedelta(seconds=1)
    for _ in range(3):
        stage.ended(stage.start(greets, input="them"))
    running = stage.start(waits)
    purged = stage.client.purge_orchestrations_by(
        created_time_from=begun, runtime_status=[OrchestrationStatus.COMPLETED]
    )
    assert purged.deleted_instance_count >= 3, purged
    assert stage.state(running) is not None
    stage.client.terminate_orchestration(running)
    stage.ended(running)


def restarts(stage):
    instance = stage.start(greets, input="again")
    stage.ended(instance)
    assert stage.client.restart_orchestration(instance) == instance
    assert stage.ended(instance).get_output() == "hello again"
    other = stage.client.restart_orchestration(instance, restart_with_new_instance_id=True)
    assert other != instance
    assert stage.ended(other).get_output() == "hello again"


def rewinds(stage):
    is_broken["now"] = True
    instance = stage.start(repairable, input="wheel")
    assert stage.ended(instance).runtime_status == OrchestrationStatus.FAILED
    is_broken["now"] = False
    stage.client.rewind_orchestration(instance, reason="mended")
    stage.until(instance, stands(OrchestrationStatus.COMPLETED))
    assert stage.state(instance).get_output() == "mended wheel"


def starts_later(stage):
    if not stage.is_ours:
        return
    at = datetime.now(timezone.utc) + timedelta(seconds=2)
    instance = stage.start(greets, input="later", start_at=at)
    assert stage.state(instance).runtime_status == OrchestrationStatus.PENDING
    state = stage.ended(instance)
    assert state.get_output() == "hello later"
    assert state.last_updated_at.replace(tzinfo=timezone.utc) >= at - timedelta(milliseconds=1)


def ids_are_taken_once(stage):
    instance = unique("once")
    stage.start(waits, instance_id=instance)
    again = lambda: stage.start(waits, instance_id=instance)  # noqa: E731
    refused(grpc.StatusCode.ALREADY_EXISTS, again)
    stage.client.raise_orchestration_event(instance, "go", data=1)
    assert stage.ended(instance).get_output() == 1


def lists(stage):
    prefix = unique("list")
    ids = {stage.start(greets, input=n, instance_id=f"{prefix}-{n}") for n in range(7)}
    for instance in ids:
        stage.ended(instance)
    query = OrchestrationQuery(
        runtime_status=[OrchestrationStatus.COMPLETED],
        max_instance_count=3,
        fetch_inputs_and_outputs=True,
    )
    if stage.is_ours:
        query.instance_id_prefix = prefix
    found = [
        state
        for state in stage.client.get_all_orchestration_states(query)
        if state.instance_id.startswith(prefix)
    ]
    assert {state.instance_id for state in found} == ids and len(found) == 7, found
    assert {state.get_output() for state in found} == {f"hello {n}" for n in range(7)}
    history = stage.client.get_orchestration_history(f"{prefix}-0")
    kinds = [type(event).__name__ for event in history]
    assert "ExecutionStartedEvent" in kinds and "ExecutionCompletedEvent" in kinds, kinds


def unknown_instances(stage):
    assert stage.state(unique("nobody")) is None
    if stage.is_ours:
        rewind = lambda: stage.client.rewind_orchestration(unique("nobody"))  # noqa: E731
        refused(grpc.StatusCode.NOT_FOUND, rewind)
        restart = lambda: stage.client.restart_orchestration(unique("nobody"))  # noqa: E731
        refused(grpc.StatusCode.NOT_FOUND, restart)


CHECKS = [
    suspends_and_resumes,
    terminates,
    terminates_children,
    purges,
    purges_by_filter,
    restarts,
    rewinds,
    starts_later,
    ids_are_taken_once,
    lists,
    unknown_instances,
]
