"""Sub-orchestrations, retries, and failures on their way up."""

from datetime import timedelta

from durabletask import task

from scenarios import unique

attempts = {}

QUICKLY = task.RetryPolicy(
    first_retry_interval=timedelta(milliseconds=20), max_number_of_attempts=3
)


def register(worker):
    for activity in (double, flaky, broken):
        worker.add_activity(activity)
    for orchestrator in (
        child,
        family,
        retries,
        gives_up,
        flaky_child,
        retries_child,
        broken_child,
        caught,
        uncaught,
        grandparent,
        mails,
        gets_mail,
    ):
        worker.add_orchestrator(orchestrator)


def double(_, number):
    return number * 2


def flaky(_, key):
    attempts[key] = attempts.get(key, 0) + 1
    if attempts[key] < 3:
        raise RuntimeError(f"attempt {attempts[key]}")
    return attempts[key]


def broken(_, word):
    raise ValueError(f"no good: {word}")


def child(ctx, number):
    doubled = yield ctx.call_activity(double, input=number)
    return [ctx.instance_id, doubled]


def family(ctx, count):
    tasks = [ctx.call_sub_orchestrator(child, input=number) for number in range(count)]
    answers = yield task.when_all(tasks)
    named = yield ctx.call_sub_orchestrator(
        child, input=100, instance_id=f"{ctx.instance_id}:named"
    )
    return [*answers, named]


def retries(ctx, key):
    return (yield ctx.call_activity(flaky, input=key, retry_policy=QUICKLY))


def gives_up(ctx, word):
    return (yield ctx.call_activity(broken, input=word, retry_policy=QUICKLY))


def flaky_child(ctx, key):
    return (yield ctx.call_activity(flaky, input=key))


def retries_child(ctx, key):
    return (yield ctx.call_sub_orchestrator(flaky_child, input=key, retry_policy=QUICKLY))


def broken_child(ctx, word):
    yield ctx.call_activity(broken, input=word)


def caught(ctx, word):
    try:
        yield ctx.call_sub_orchestrator(broken_child, input=word)
    except task.TaskFailedError as error:
        return [error.details.error_type, error.details.message]


def uncaught(ctx, word):
    yield ctx.call_activity(broken, input=word)


def grandparent(ctx, depth):
    if depth == 0:
        return 0
    below = yield ctx.call_sub_orchestrator(grandparent, input=depth - 1)
    return below + 1


def gets_mail(ctx, _):
    return (yield ctx.wait_for_external_event("Mail"))


def mails(ctx, other):
    ctx.send_event(other, "mail", data={"from": ctx.instance_id})
    return "sent"


def sub_orchestrations(stage):
    instance = stage.start(family, input=5)
    output = stage.ended(instance).get_output()
    assert [number for _, number in output] == [0, 2, 4, 6, 8, 200], output
    assert len({name for name, _ in output}) == 6, output
    assert output[-1][0] == f"{instance}:named", output
    assert stage.state(f"{instance}:named").get_output() == output[-1]


def nested(stage):
    assert stage.result(grandparent, input=6) == 6


def retried_activity(stage):
    key = unique("flaky")
    assert stage.result(retries, input=key) == 3
    assert attempts[key] == 3


def retries_end(stage):
    details = stage.failure(gives_up, input="never")
    assert "no good: never" in details.message, details


def retried_child(stage):
    assert stage.result(retries_child, input=unique("flaky")) == 3


def failure_travels(stage):
    error_type, message = stage.result(caught, input="deep")
    assert error_type, message
    assert "no good: deep" in message, message


def failure_is_told(stage):
    details = stage.failure(uncaught, input="told")
    assert "no good: told" in details.message, details
    assert details.stack_trace, details


def events_between_instances(stage):
    receiver = stage.start(gets_mail)
    sender = stage.start(mails, input=receiver)
    assert stage.ended(receiver).get_output() == {"from": sender}


CHECKS = [
    sub_orchestrations,
    nested,
    retried_activity,
    retries_end,
    retried_child,
    failure_travels,
    failure_is_told,
    events_between_instances,
]
