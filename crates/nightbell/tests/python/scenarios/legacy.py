"""Orchestrators that speak to entities in the form of events, as workers for older backends do, played
by hand; the entities are those of a worker of today."""

import json
import uuid
from datetime import datetime, timedelta, timezone

import grpc
from durabletask.entities import EntityInstanceId
from durabletask.internal import orchestrator_service_pb2 as pb

from scenarios import Stage, refused, unique, until
from scenarios.entities import counter
from scenarios.wire import COMPLETED, FAILED, Hand, complete

HERE = [pb.OrchestrationFilter(name="by_hand")]


class House:
    """A task hub with entities of today, and orchestrators by hand."""

    def __init__(self, stage):
        self.hand = Hand(stage)
        self.stage = Stage(stage.endpoint, hub=self.hand.hub)
        self.today = self.stage.worker()
        self.today.add_entity(counter)
        self.today.use_work_item_filters()
        self.work = self.hand.work(workItemFilters=pb.WorkItemFilters(orchestrations=HERE))

    def __enter__(self):
        self.today.start()
        self.work.__enter__()
        return self

    def __exit__(self, *error):
        self.work.__exit__(*error)
        self.today.stop()

    def turn(self):
        """The next turn: its work item, and what is new in it after its beginning."""
        item = self.work.next()
        return item, list(item.orchestratorRequest.newEvents)[1:]

    def begin(self, *actions):
        """A new instance, which has asked for this in its first turn."""
        instance = self.hand.start()
        item, _ = self.turn()
        assert item.orchestratorRequest.instanceId == instance, item
        self.hand.answer(item, *actions)
        return instance

    def held(self, key, wanted=lambda state: state is not None):
        """What a counter holds, once it is as wanted."""

        def look():
            entity = self.stage.client.get_entity(EntityInstanceId("counter", key))
            return entity and entity.get_state(int)

        return until(look, wanted)


def send(number, key, name, data):
    event = pb.SendEventAction(name=name)
    event.instance.instanceId = f"@counter@{key}"
    event.data.value = data if isinstance(data, str) else json.dumps(data)
    return pb.OrchestratorAction(id=number, sendEvent=event)


def asked(operation, **members):
    return {"op": operation, "id": str(uuid.uuid4()), "parent": "me", **members}


def locks(*keys):
    lockset = [{"name": "counter", "key": key} for key in keys]
    return {"op": None, "id": str(uuid.uuid4()), "lockset": lockset, "pos": 0, "parent": "me"}


def heard(event, request):
    """What an event says, which answers a request."""
    assert event.HasField("eventRaised") and event.eventId == -1, event
    assert event.eventRaised.name == request["id"], event
    return json.loads(event.eventRaised.input.value)


def calls(stage):
    with House(stage) as house:
        key = unique("k")
        call = asked("add", input="5", Timestamp="0001-01-01T00:00:00", createTrace=True)
        instance = house.begin(send(1, key, "op", call))
        item, new = house.turn()
        assert heard(new[0], call) == {"result": "5"}, new
        # What was sent is shown as it was written.
        sent = item.orchestratorRequest.pastEvents[-1]
        assert (sent.eventId, sent.eventSent.name) == (1, "op"), sent
        assert sent.eventSent.instanceId == f"@counter@{key}", sent
        assert sent.eventSent.input.value == json.dumps(call), sent
        house.hand.answer(item, complete(2, '"done"'))
        assert house.hand.ended(instance).orchestrationStatus == COMPLETED
        request = pb.StreamInstanceHistoryRequest(instanceId=instance)
        chunks = house.hand.call("StreamInstanceHistory", request)
        kinds = [event.WhichOneof("eventType") for chunk in chunks for event in chunk.events]
        assert kinds == [
            "orchestratorStarted",
            "executionStarted",
            "eventSent",
            "orchestratorStarted",
            "eventRaised",
            "executionCompleted",
        ], kinds


def failures(stage):
    with House(stage) as house:
        call = asked("fail")
        house.begin(send(1, unique("k"), "op", call))
        _, new = house.turn()
        said = heard(new[0], call)
        kind = said["failureDetails"]["ErrorType"]
        assert said["exceptionType"] == kind and kind.endswith("ValueError"), said
        assert "the counter jams" in said["failureDetails"]["ErrorMessage"], said
        assert json.loads(said["result"]) == said["failureDetails"]["ErrorMessage"], said


def signals(stage):
    with House(stage) as house:
        key = unique("k")
        later = datetime.now(timezone.utc) + timedelta(seconds=2)
        due = f"{later:%Y-%m-%dT%H:%M:%S.%f}0Z"
        instance = house.begin(
            send(1, key, f"op@{due}", asked("add", signal=True, input="10", due=due)),
            send(2, key, "op", asked("add", signal=True, input="1")),
            complete(3, "1"),
        )
        assert house.hand.ended(instance).orchestrationStatus == COMPLETED
        assert house.held(key, lambda state: state == 11) == 11
        assert datetime.now(timezone.utc) >= later, "it came too early"


def locked(stage):
    with House(stage) as house:
        one, two = unique("a"), unique("b")
        mine, theirs = locks(one, two), locks(one, two)
        house.begin(send(1, one, "op", mine))
        first, new = house.turn()
        assert heard(new[0], mine)["result"] == "Lock Acquisition Completed", new
        house.begin(send(1, one, "op", theirs))
        house.stage.client.signal_entity(EntityInstanceId("counter", two), "add", input=100)
        call = asked("add", input="1")
        house.hand.answer(first, send(2, two, "op", call))
        first, new = house.turn()
        assert heard(new[0], call) == {"result": "1"}, "only the holder gets through"
        release = {"parent": "me", "id": mine["id"]}
        given_back = (send(number, key, "release", release) for number, key in ((3, one), (4, two)))
        house.hand.answer(first, *given_back)
        second, new = house.turn()
        assert heard(new[0], theirs)["result"] == "Lock Acquisition Completed", new
        assert house.held(two, lambda state: state == 101) == 101
        # Whoever ends lets go of what it has locked.
        house.hand.answer(second, complete(2, "1"))
        house.stage.client.signal_entity(EntityInstanceId("counter", one), "add", input=7)
        assert house.held(one) == 7


def nonsense(stage):
    """What cannot be read fails the instance, and nothing else."""
    with House(stage) as house:
        key = unique("k")
        for name, data, why in (
            ("op", "{", "EOF while parsing"),
            ("op", asked(None), "neither 'op' nor 'lockset'"),
            ("op", {"op": "add"}, "missing field `id`"),
            ("op@noon", asked("add"), "'noon' is no time"),
            ("hello", "1", "its name is 'hello'"),
            ("release", "[", "EOF while parsing"),
        ):
            good = send(1, key, "op", asked("add", signal=True, input="1"))
            state = house.hand.ended(house.begin(good, send(2, key, name, data)))
            assert state.orchestrationStatus == FAILED, state
            assert state.failureDetails.errorType == "InvalidEntityMessage", state
            words = state.failureDetails.errorMessage
            assert words.startswith("action 2: ") and why in words, words
        call = asked("get")
        house.begin(send(1, key, "op", call))
        _, new = house.turn()
        assert heard(new[0], call) == {"result": "0"}, "nothing of the turns was done"
        # Clients have a call of their own for signals.
        event = pb.RaiseEventRequest(instanceId=f"@counter@{key}", name="op")
        refused(grpc.StatusCode.NOT_FOUND, lambda: house.hand.call("RaiseEvent", event))


def register(_):
    pass


CHECKS = [calls, failures, signals, locked, nonsense]
