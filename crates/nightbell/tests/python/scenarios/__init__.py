"""What all scenarios share: a stage to play on."""

import time
import uuid

from durabletask.azuremanaged.client import DurableTaskSchedulerClient
from durabletask.azuremanaged.worker import DurableTaskSchedulerWorker
from durabletask.client import OrchestrationStatus, TaskHubGrpcClient
from durabletask.worker import TaskHubGrpcWorker

# How long anything may take on a busy machine.
PATIENCE = 60


class Stage:
    """A server, and a task hub on it; no hub means the one that callers without a name get."""

    def __init__(self, endpoint, hub, is_ours=True):
        self.endpoint = endpoint
        self.hub = hub
        self.is_ours = is_ours
        self.name = hub or "plain"
        self.client = self.client_of(hub)

    def client_of(self, hub):
        if hub is None:
            return TaskHubGrpcClient(host_address=self.endpoint)
        return DurableTaskSchedulerClient(
            host_address=self.endpoint, secure_channel=False, taskhub=hub, token_credential=None
        )

    def worker(self, **options):
        if self.hub is None:
            return TaskHubGrpcWorker(host_address=self.endpoint, **options)
        return DurableTaskSchedulerWorker(
            host_address=self.endpoint,
            secure_channel=False,
            taskhub=self.hub,
            token_credential=None,
            **options,
        )

    def start(self, orchestrator, **options):
        return self.client.schedule_new_orchestration(orchestrator, **options)

    def state(self, instance):
        return self.client.get_orchestration_state(instance)

    def ended(self, instance):
        return self.client.wait_for_orchestration_completion(instance, timeout=PATIENCE)

    def result(self, orchestrator, **options):
        """Runs an orchestration that must complete; answers its output."""
        state = self.ended(self.start(orchestrator, **options))
        assert state.runtime_status == OrchestrationStatus.COMPLETED, state
        return state.get_output()

    def failure(self, orchestrator, **options):
        """Runs an orchestration that must fail; answers why."""
        state = self.ended(self.start(orchestrator, **options))
        assert state.runtime_status == OrchestrationStatus.FAILED, state
        return state.failure_details

    def until(self, instance, wanted):
        """Waits until an instance is as wanted; answers it."""
        return until(lambda: self.state(instance), wanted)


def until(look, wanted):
    """Looks again and again until what is seen is as wanted; answers it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if wanted(seen):
            return seen
        assert time.monotonic() < deadline, f"still {seen}"
        time.sleep(0.02)


def stands(status):
    """Whether an instance stands so."""
    return lambda state: state is not None and state.runtime_status == status


def unique(name):
    """An instance id that no other run has used."""
    return f"{name}-{uuid.uuid4().hex}"


def refused(code, call):
    """The call must be refused with this status; answers the words."""
    import grpc

    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error.details()
    raise AssertionError(f"it was not refused with {code}")
