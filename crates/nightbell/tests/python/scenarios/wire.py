"""The wire itself, spoken by hand: tokens, lost and slow workers, chunks, long histories, bad input."""

import json
import threading
import urllib.request

import grpc
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.internal import orchestrator_service_pb2_grpc as rpc

from scenarios import PATIENCE, refused, unique, until

COMPLETED = pb.ORCHESTRATION_STATUS_COMPLETED
FAILED = pb.ORCHESTRATION_STATUS_FAILED
LARGE = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class Hand:
    """A client of a task hub of its own, who can hold streams of work items by hand."""

    def __init__(self, stage):
        self.endpoint = stage.endpoint
        self.hub = unique("wire")[:32]
        self.stub = rpc.TaskHubSidecarServiceStub(
            grpc.insecure_channel(stage.endpoint, options=LARGE)
        )

    def call(self, method, request):
        call = getattr(self.stub, method)
        return call(request, metadata=[("taskhub", self.hub)], timeout=PATIENCE)

    def start(self, name="by_hand", **fields):
        request = pb.CreateInstanceRequest(name=name, instanceId=unique("i"), **fields)
        return self.call("StartInstance", request).instanceId

    def state(self, instance):
        request = pb.GetInstanceRequest(instanceId=instance, getInputsAndOutputs=True)
        return self.call("GetInstance", request).orchestrationState

    def ended(self, instance):
        request = pb.GetInstanceRequest(instanceId=instance, getInputsAndOutputs=True)
        return self.call("WaitForInstanceCompletion", request).orchestrationState

    def work(self, **fields):
        return Work(self, pb.GetWorkItemsRequest(**fields))

    def answer(self, item, *actions, **fields):
        request = pb.OrchestratorResponse(
            instanceId=item.orchestratorRequest.instanceId,
            actions=actions,
            **{"completionToken": item.completionToken, **fields},
        )
        return self.call("CompleteOrchestratorTask", request)

    def did(self, item, result, **fields):
        request = pb.ActivityResponse(
            instanceId=item.activityRequest.orchestrationInstance.instanceId,
            taskId=item.activityRequest.taskId,
            **{"completionToken": item.completionToken, **fields},
        )
        request.result.value = result
        return self.call("CompleteActivityTask", request)


class Work:
    """A stream of work items; leaving the block is a worker that goes away."""

    def __init__(self, hand, request):
        # A connection of its own, as every worker has.
        self.channel = grpc.insecure_channel(hand.endpoint, options=LARGE)
        stub = rpc.TaskHubSidecarServiceStub(self.channel)
        metadata = [("taskhub", hand.hub), ("workerid", "hand")]
        self.stream = stub.GetWorkItems(request, metadata=metadata)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.cancel()
        self.channel.close()

    def next(self):
        """The next item that is work."""
        watchdog = threading.Timer(PATIENCE, self.stream.cancel)
        watchdog.start()
        try:
            for item in self.stream:
                if item.WhichOneof("request") != "healthPing":
                    return item
        finally:
            watchdog.cancel()
        raise AssertionError("the stream ended")


def complete(number, result, status=COMPLETED):
    end = pb.CompleteOrchestrationAction(orchestrationStatus=status)
    end.result.value = result
    return pb.OrchestratorAction(id=number, completeOrchestration=end)


def schedule(number, name="task", text=None):
    action = pb.OrchestratorAction(id=number, scheduleTask=pb.ScheduleTaskAction(name=name))
    if text is not None:
        action.scheduleTask.input.value = text
    return action


def tokens(stage):
    hand = Hand(stage)
    with hand.work() as work:
        instance = hand.start()
        item = work.next()
        assert item.orchestratorRequest.newEvents[0].HasField("orchestratorStarted"), item
        assert item.orchestratorRequest.entityParameters.HasField("entityMessageReorderWindow")
        begun = item.orchestratorRequest.newEvents[1]
        assert begun.eventId == -1 and begun.timestamp.seconds > 0, begun
        life = begun.executionStarted.orchestrationInstance.executionId.value
        assert len(life) == 32 and life == item.orchestratorRequest.executionId.value, item
        answer = lambda **fields: hand.answer(item, complete(1, '"once"'), **fields)  # noqa: E731
        refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: answer(completionToken="nonsense"))
        assert hand.state(instance).orchestrationStatus == pb.ORCHESTRATION_STATUS_PENDING
        answer()
        refused(grpc.StatusCode.FAILED_PRECONDITION, answer)
        state = hand.ended(instance)
        assert (state.orchestrationStatus, state.output.value) == (COMPLETED, '"once"'), state


def without_tokens(stage):
    """One SDK sends no token back: what is out at the time is meant."""
    hand = Hand(stage)
    with hand.work() as work:
        instance = hand.start()
        hand.answer(work.next(), schedule(1), completionToken="")
        hand.did(work.next(), "5", completionToken="")
        hand.answer(work.next(), complete(2, "5"), completionToken="")
        assert hand.ended(instance).output.value == "5"


def given_back(stage):
    hand = Hand(stage)
    with hand.work() as work:
        instance = hand.start()
        item = work.next()
        token = pb.AbandonOrchestrationTaskRequest(completionToken=item.completionToken)
        hand.call("AbandonTaskOrchestratorWorkItem", token)
        again = work.next()
        assert again.orchestratorRequest.instanceId == instance
        hand.answer(again, schedule(1))
        item = work.next()
        token = pb.AbandonActivityTaskRequest(completionToken=item.completionToken)
        hand.call("AbandonTaskActivityWorkItem", token)
        hand.did(work.next(), "1")
        hand.answer(work.next(), complete(2, "1"))
        assert hand.ended(instance).output.value == "1"


def lost_worker(stage):
    """What a worker had in hand goes to another; the first answer counts, whoever gives it."""
    hand = Hand(stage)
    with hand.work() as first:
        instance = hand.start()
        turn = first.next()
        hand.answer(turn, schedule(1))
        late = first.next()
    with hand.work() as second:
        again = second.next()
        assert again.activityRequest.taskId == late.activityRequest.taskId
        hand.did(late, '"first"')
        refused(grpc.StatusCode.FAILED_PRECONDITION, lambda: hand.did(again, '"second"'))
        turn = second.next()
        completed = turn.orchestratorRequest.newEvents[1].taskCompleted
        assert completed.result.value == '"first"', turn
        hand.answer(turn, complete(2, completed.result.value))
        assert hand.ended(instance).output.value == '"first"'


def limits(stage):
    """A worker is handed as much as it takes at once, and goes on when it has answered."""
    hand = Hand(stage)
    with hand.work(maxConcurrentOrchestrationWorkItems=1) as work:
        instances = {hand.start() for _ in range(3)}
        for _ in range(3):
            item = work.next()
            shown = [worker for worker in workers(stage) if worker["taskHub"] == hand.hub]
            assert [worker["outstanding"] for worker in shown] == [1], shown
            assert shown[0]["workerId"] == "hand", shown
            hand.answer(item, complete(1, "0"))
        for instance in instances:
            assert hand.ended(instance).orchestrationStatus == COMPLETED
    hub = hand.hub
    until(lambda: [one for one in workers(stage) if one["taskHub"] == hub], lambda seen: not seen)


def workers(stage):
    with urllib.request.urlopen(f"http://{stage.endpoint}/api/workers") as answer:
        return json.load(answer)


def chunks(stage):
    """An answer in several messages counts as a whole, once its last is there."""
    hand = Hand(stage)
    with hand.work() as work:
        instance = hand.start()
        item = work.next()

        def chunk(index, last, *actions):
            number = pb.OrchestratorResponse().chunkIndex
            number.value = index
            hand.answer(item, *actions, isPartial=not last, chunkIndex=number)

        chunk(0, False, schedule(1))
        chunk(1, False, schedule(2))
        assert hand.state(instance).orchestrationStatus == pb.ORCHESTRATION_STATUS_PENDING
        chunk(2, True, schedule(3))
        assert {work.next().activityRequest.taskId for _ in range(3)} == {1, 2, 3}


def long_histories(stage):
    """A history that is long goes in pieces to workers that can, and whole to others."""
    hand = Hand(stage)
    text = json.dumps("x" * 600_000)
    able = [pb.WORKER_CAPABILITY_HISTORY_STREAMING]
    instance = hand.start()
    with hand.work() as work:
        hand.answer(work.next(), *(schedule(number, text=text) for number in (1, 2, 3)))
        for _ in range(3):
            hand.did(work.next(), "0")
        item = work.next()
        assert len(item.orchestratorRequest.pastEvents) >= 5, item
    with hand.work(capabilities=able) as work:
        item = work.next()
        turn = item.orchestratorRequest
        assert turn.requiresHistoryStreaming and not turn.pastEvents, turn.instanceId
        asked = pb.StreamInstanceHistoryRequest(instanceId=instance, forWorkItemProcessing=True)
        pieces = list(hand.call("StreamInstanceHistory", asked))
        assert len(pieces) >= 3, len(pieces)
        scheduled = [
            event.eventId
            for piece in pieces
            for event in piece.events
            if event.HasField("taskScheduled")
        ]
        assert scheduled == [1, 2, 3], scheduled
        hand.answer(item, complete(4, "0"))
        assert hand.ended(instance).orchestrationStatus == COMPLETED


def too_large_for_workers(stage):
    """What would end the stream of a worker fails the instance instead, with the reason."""
    hand = Hand(stage)
    text = json.dumps("x" * 3_000_000)
    with hand.work() as work:
        instance = hand.start()
        hand.answer(work.next(), schedule(1, text=text), schedule(2, text=text))
        hand.did(work.next(), "0")
        state = hand.ended(instance)
        assert state.orchestrationStatus == FAILED, state.orchestrationStatus
        assert state.failureDetails.errorType == "WorkItemTooLarge", state.failureDetails
        # The stream is as good as before.
        other = hand.start()
        item = work.next()
        if item.WhichOneof("request") == "activityRequest":
            item = work.next()
        hand.answer(item, complete(1, "0"))
        assert hand.ended(other).orchestrationStatus == COMPLETED


def contradictions(stage):
    """An answer that contradicts the history fails the instance, with the reason."""
    hand = Hand(stage)
    with hand.work() as work:
        for actions in (
            [schedule(1), schedule(1)],
            [schedule(-5)],
            [complete(1, "1"), complete(2, "2")],
        ):
            instance = hand.start()
            hand.answer(work.next(), *actions)
            state = hand.ended(instance)
            assert state.orchestrationStatus == FAILED, actions
            assert state.failureDetails.errorType == "NonDeterminismError", state.failureDetails
        instance = hand.start()
        item = work.next()
        refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            lambda: hand.answer(item, pb.OrchestratorAction(id=1)),
        )
        hand.answer(work.next(), complete(1, "1"))
        assert hand.ended(instance).orchestrationStatus == COMPLETED


def bad_requests(stage):
    hand = Hand(stage)
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    start = pb.CreateInstanceRequest
    large = pb.CreateInstanceRequest(name="by_hand")
    large.input.value = "x" * (11 << 20)
    running = pb.OrchestrationIdReusePolicy(
        replaceableStatus=[pb.ORCHESTRATION_STATUS_RUNNING]
    )
    for code, method, request in (
        (invalid, "StartInstance", start(name="")),
        (invalid, "StartInstance", start(name="by_hand", instanceId="x" * 101)),
        (invalid, "StartInstance", start(name="by_hand", orchestrationIdReusePolicy=running)),
        (invalid, "StartInstance", large),
        (missing, "RaiseEvent", pb.RaiseEventRequest(instanceId="nobody", name="e")),
        (missing, "TerminateInstance", pb.TerminateRequest(instanceId="nobody")),
        (missing, "SuspendInstance", pb.SuspendRequest(instanceId="nobody")),
        (missing, "RewindInstance", pb.RewindInstanceRequest(instanceId="nobody")),
        (invalid, "SignalEntity", pb.SignalEntityRequest(instanceId="no entity", name="op")),
        (invalid, "SignalEntity", pb.SignalEntityRequest(instanceId="@e@" + "k" * 100, name="op")),
        (invalid, "PurgeInstances", pb.PurgeInstancesRequest()),
        (
            invalid,
            "PurgeInstances",
            pb.PurgeInstancesRequest(instanceBatch=pb.InstanceBatch(instanceIds=["i"] * 501)),
        ),
    ):
        words = refused(code, lambda: hand.call(method, request))  # noqa: B023
        assert words, method
    assert not hand.call("GetInstance", pb.GetInstanceRequest(instanceId="nobody")).exists
    asked = pb.StreamInstanceHistoryRequest(instanceId="nobody")
    assert list(hand.call("StreamInstanceHistory", asked)) == []


def replaced(stage):
    """A policy says which instances of the same id may be replaced."""
    hand = Hand(stage)
    policy = pb.OrchestrationIdReusePolicy(replaceableStatus=[COMPLETED])
    with hand.work() as work:
        request = pb.CreateInstanceRequest(name="by_hand", instanceId=unique("same"))
        hand.call("StartInstance", request)
        request.orchestrationIdReusePolicy.CopyFrom(policy)
        exists = grpc.StatusCode.ALREADY_EXISTS
        refused(exists, lambda: hand.call("StartInstance", request))
        hand.answer(work.next(), complete(1, "1"))
        hand.ended(request.instanceId)
        hand.call("StartInstance", request)
        hand.answer(work.next(), complete(1, "2"))
        assert hand.ended(request.instanceId).output.value == "2"


def ended_at_once(stage):
    """Instances whose workers are gone can be ended without them."""
    hand = Hand(stage)
    instance = hand.start()
    batch = pb.InstanceBatch(instanceIds=[instance, "nobody"])
    request = pb.SkipGracefulOrchestrationTerminationsRequest(instanceBatch=batch)
    left = hand.call("SkipGracefulOrchestrationTerminations", request)
    assert list(left.unterminatedInstanceIds) == ["nobody"], left
    assert hand.ended(instance).orchestrationStatus == pb.ORCHESTRATION_STATUS_TERMINATED
    hand.call("CreateTaskHub", pb.CreateTaskHubRequest(recreateIfExists=True))
    assert not hand.call("GetInstance", pb.GetInstanceRequest(instanceId=instance)).exists


def register(_):
    pass


CHECKS = [
    tokens,
    without_tokens,
    given_back,
    lost_worker,
    limits,
    chunks,
    long_histories,
    too_large_for_workers,
    contradictions,
    bad_requests,
    replaced,
    ended_at_once,
]
