"""Versions of orchestrations, workers that take only some work, and task hubs apart."""

from durabletask.client import OrchestrationStatus
from durabletask.worker import (
    ActivityWorkItemFilter,
    OrchestrationWorkItemFilter,
    VersionFailureStrategy,
    VersioningOptions,
    VersionMatchStrategy,
    WorkItemFilters,
)

from scenarios import stands, unique


def register(worker):
    worker.add_orchestrator(tells_version)
    # Workers of one hub share its queues: this one leaves to others what is theirs.
    if hasattr(worker, "use_work_item_filters"):
        worker.use_work_item_filters()


def tells_version(ctx, _):
    return ctx.version


def picky(ctx, _):
    return ctx.version


def left(_, word):
    return f"left {word}"


def asks_left(ctx, word):
    return (yield ctx.call_activity("left", input=word))


def versions_travel(stage):
    assert stage.result(tells_version, version="1.2.3") == "1.2.3"


def mismatch_fails(stage):
    with stage.worker() as worker:
        worker.add_orchestrator(picky)
        worker.use_versioning(
            VersioningOptions(
                version="2.0.0",
                match_strategy=VersionMatchStrategy.STRICT,
                failure_strategy=VersionFailureStrategy.FAIL,
            )
        )
        worker.use_work_item_filters(
            WorkItemFilters(orchestrations=[OrchestrationWorkItemFilter(name="picky")])
        )
        worker.start()
        assert "ersion" in stage.failure(picky, version="1.0.0").message
        assert stage.result(picky, version="2.0.0") == "2.0.0"


def mismatch_waits(stage):
    """A worker of another version gives an instance back; the right one takes it."""
    name = "picky"

    def worker_of(version):
        worker = stage.worker()
        worker.add_orchestrator(picky)
        worker.use_versioning(
            VersioningOptions(
                version=version,
                match_strategy=VersionMatchStrategy.STRICT,
                failure_strategy=VersionFailureStrategy.REJECT,
            )
        )
        worker.use_work_item_filters(
            WorkItemFilters(orchestrations=[OrchestrationWorkItemFilter(name=name)])
        )
        return worker

    with worker_of("1.0.0") as old, worker_of("2.0.0") as new:
        old.start()
        instance = stage.start(picky, version="2.0.0")
        new.start()
        assert stage.ended(instance).get_output() == "2.0.0"


def filters(stage):
    """What a worker does not take waits for one that does."""
    with stage.worker() as first:
        first.add_orchestrator(asks_left)
        first.use_work_item_filters(
            WorkItemFilters(orchestrations=[OrchestrationWorkItemFilter(name="asks_left")])
        )
        first.start()
        instance = stage.start(asks_left, input="over")
        stage.until(instance, stands(OrchestrationStatus.RUNNING))
        with stage.worker() as second:
            second.add_activity(left)
            second.use_work_item_filters(
                WorkItemFilters(activities=[ActivityWorkItemFilter(name="left")])
            )
            second.start()
            assert stage.ended(instance).get_output() == "left over"


def versions_of_activities(stage):
    """An activity goes to workers of its orchestration's version."""
    with stage.worker() as worker:
        worker.add_orchestrator(asks_left)
        worker.add_activity(left)
        worker.use_work_item_filters(
            WorkItemFilters(
                orchestrations=[OrchestrationWorkItemFilter(name="asks_left", versions=["3.0.0"])],
                activities=[ActivityWorkItemFilter(name="left", versions=["3.0.0"])],
            )
        )
        worker.start()
        assert stage.result(asks_left, input="alone", version="3.0.0") == "left alone"


def hubs_are_apart(stage):
    other = stage.client_of(f"{stage.name}-other")
    instance = unique("apart")
    stage.start(tells_version, instance_id=instance, version="1")
    other.schedule_new_orchestration(tells_version, instance_id=instance, version="2")
    assert stage.ended(instance).get_output() == "1"
    # Nobody works there.
    assert other.get_orchestration_state(instance).runtime_status == OrchestrationStatus.PENDING
    other.terminate_orchestration(instance)
    assert stage.state(instance).runtime_status == OrchestrationStatus.COMPLETED


CHECKS = [
    versions_travel,
    mismatch_fails,
    mismatch_waits,
    filters,
    versions_of_activities,
    hubs_are_apart,
]
