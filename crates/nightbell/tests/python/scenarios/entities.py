"""Entities: signals, calls, locks, failures, signals for later, and their end."""

from datetime import datetime, timedelta, timezone

from durabletask import task
from durabletask.client import EntityQuery
from durabletask.entities import DurableEntity, EntityInstanceId

from scenarios import unique, until


def register(worker):
    worker.add_entity(counter)
    worker.add_entity(Account)
    for orchestrator in (asks, tells, transfer, hears_failure, noted):
        worker.add_orchestrator(orchestrator)


def counter(ctx, amount):
    if ctx.operation == "add":
        ctx.set_state(ctx.get_state(int, 0) + amount)
    elif ctx.operation == "forward":
        ctx.signal_entity(EntityInstanceId("counter", amount["to"]), "add", amount["by"])
    elif ctx.operation == "note":
        ctx.schedule_new_orchestration("noted", amount, instance_id=amount)
    elif ctx.operation == "delete":
        ctx.set_state(None)
    elif ctx.operation == "fail":
        raise ValueError("the counter jams")
    return ctx.get_state(int, 0)


class Account(DurableEntity):
    """Money that must not get lost between two of its kind."""

    def deposit(self, amount):
        self.set_state(self.get_state(int, 0) + amount)

    def balance(self):
        return self.get_state(int, 0)


def noted(ctx, word):
    return word


def asks(ctx, key):
    entity = EntityInstanceId("counter", key)
    for amount in (1, 2, 3):
        yield ctx.call_entity(entity, "add", amount)
    return (yield ctx.call_entity(entity, "get"))


def tells(ctx, key):
    entity = EntityInstanceId("counter", key)
    for _ in range(10):
        ctx.signal_entity(entity, "add", 1)
    # Messages from one to one keep their order, so this sees all ten.
    return (yield ctx.call_entity(entity, "get"))


def transfer(ctx, what):
    source, target = (EntityInstanceId("Account", key) for key in what["keys"])
    lock = yield ctx.lock_entities([source, target])
    with lock:
        balance = yield ctx.call_entity(source, "balance")
        if balance < what["amount"]:
            return False
        yield ctx.call_entity(source, "deposit", -what["amount"])
        yield ctx.call_entity(target, "deposit", what["amount"])
    return True


def hears_failure(ctx, key):
    try:
        yield ctx.call_entity(EntityInstanceId("counter", key), "fail")
    except Exception as error:  # the package raises types of its own here
        return str(error)


def number_of(stage, key):
    found = stage.client.get_entity(EntityInstanceId("counter", key))
    # The package's own server shows an entity that has no state yet, with an empty one.
    state = None if found is None else found.get_state()
    return None if state in (None, "") else int(state)


def signals(stage):
    key = unique("signals")
    entity = EntityInstanceId("counter", key)
    for amount in range(1, 11):
        stage.client.signal_entity(entity, "add", amount)
    until(lambda: number_of(stage, key), lambda number: number == 55)


def calls(stage):
    key = unique("calls")
    assert stage.result(asks, input=key) == 6
    assert number_of(stage, key) == 6


def order(stage):
    assert stage.result(tells, input=unique("order")) == 10


def locks(stage):
    keys = [unique("a"), unique("b")]
    for key in keys:
        stage.client.signal_entity(EntityInstanceId("Account", key), "deposit", 100)
    ways = [keys, keys[::-1]]
    runs = [
        stage.start(transfer, input={"keys": ways[n % 2], "amount": 10 + n}) for n in range(8)
    ]
    for instance in runs:
        assert stage.ended(instance).get_output() is True
    balances = [
        stage.client.get_entity(EntityInstanceId("Account", key)).get_state(int) for key in keys
    ]
    assert sum(balances) == 200, balances
    moved = sum((10 + n) * (1 if n % 2 == 0 else -1) for n in range(8))
    assert balances == [100 - moved, 100 + moved], balances


def failures(stage):
    key = unique("jam")
    stage.client.signal_entity(EntityInstanceId("counter", key), "add", 7)
    assert "the counter jams" in stage.result(hears_failure, input=key)
    assert number_of(stage, key) == 7


def entities_act(stage):
    key, other, run = unique("from"), unique("to"), unique("noted")
    entity = EntityInstanceId("counter", key)
    stage.client.signal_entity(entity, "forward", {"to": other, "by": 5})
    until(lambda: number_of(stage, other), lambda number: number == 5)
    stage.client.signal_entity(entity, "note", run)
    until(lambda: stage.state(run), lambda state: state is not None)
    assert stage.ended(run).get_output() == run


def signals_for_later(stage):
    key = unique("later")
    entity = EntityInstanceId("counter", key)
    at = datetime.now(timezone.utc) + timedelta(seconds=1)
    stage.client.signal_entity(entity, "add", 1, signal_time=at)
    until(lambda: number_of(stage, key), lambda number: number == 1)
    assert datetime.now(timezone.utc) >= at


def ends(stage):
    if not stage.is_ours:
        return
    key = unique("gone")
    entity = EntityInstanceId("counter", key)
    stage.client.signal_entity(entity, "add", 1)
    until(lambda: number_of(stage, key), lambda number: number == 1)
    stage.client.signal_entity(entity, "delete")
    until(lambda: stage.client.get_entity(entity), lambda found: found is None)


def lists(stage):
    prefix = unique("many")
    for number in range(5):
        entity = EntityInstanceId("counter", f"{prefix}-{number}")
        stage.client.signal_entity(entity, "add", number)
    query = EntityQuery(instance_id_starts_with=f"@counter@{prefix}", page_size=2)
    found = until(lambda: stage.client.get_all_entities(query), lambda found: len(found) == 5)
    assert {entity.get_state(int) for entity in found} == set(range(5)), found


CHECKS = [
    signals,
    calls,
    order,
    locks,
    failures,
    entities_act,
    signals_for_later,
    ends,
    lists,
]
