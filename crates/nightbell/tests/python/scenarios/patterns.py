"""The patterns that people write: chains, fans, monitors, approvals, endless loops."""

from datetime import timedelta

from durabletask import task
from durabletask.client import OrchestrationStatus

from scenarios import stands

seen_by_monitor = {}


def register(worker):
    for activity in (hello, shout, square, look):
        worker.add_activity(activity)
    for orchestrator in (chain, fan, monitor, approval, endless, echo, timed):
        worker.add_orchestrator(orchestrator)


def hello(_, name):
    return f"hello {name}"


def shout(_, text):
    return text.upper()


def square(_, number):
    return number * number


def look(_, job):
    seen_by_monitor[job] = seen_by_monitor.get(job, 0) + 1
    return "done" if seen_by_monitor[job] >= 4 else "running"


def echo(ctx, value):
    return value


def chain(ctx, name):
    greeting = yield ctx.call_activity(hello, input=name)
    louder = yield ctx.call_activity(shout, input=greeting)
    count = yield ctx.call_activity(square, input=len(louder))
    return [greeting, louder, count]


def fan(ctx, count):
    squares = yield task.when_all([ctx.call_activity(square, input=n) for n in range(count)])
    return sum(squares)


def timed(ctx, millis):
    begun = ctx.current_utc_datetime
    yield ctx.create_timer(timedelta(milliseconds=millis))
    return (ctx.current_utc_datetime - begun).total_seconds() * 1000


def monitor(ctx, job):
    for attempt in range(1, 20):
        status = yield ctx.call_activity(look, input=job)
        ctx.set_custom_status({"attempt": attempt, "job": status})
        if status == "done":
            return attempt
        yield ctx.create_timer(timedelta(milliseconds=50))
    return None


def approval(ctx, patience_millis):
    answer = ctx.wait_for_external_event("Approval")
    late = ctx.create_timer(timedelta(milliseconds=patience_millis))
    first = yield task.when_any([answer, late])
    return answer.get_result() if first == answer else "nobody answered"


def endless(ctx, count):
    word = yield ctx.wait_for_external_event("next")
    if word == "stop":
        return count
    ctx.continue_as_new(count + 1, save_events=True)


def chaining(stage):
    assert stage.result(chain, input="bell") == ["hello bell", "HELLO BELL", 100]
    starts = [stage.start(chain, input=f"n{number}") for number in range(20)]
    for number, instance in enumerate(starts):
        output = stage.ended(instance).get_output()
        assert output[0] == f"hello n{number}", output


def payloads(stage):
    for value in (None, "", "🔔 Grüße", [1, {"a": [None, True]}], 1.5, "x" * 200_000):
        assert stage.result(echo, input=value) == value


def fanning_out(stage):
    assert stage.result(fan, input=60) == sum(n * n for n in range(60))


def timers(stage):
    assert stage.result(timed, input=300) >= 300


def monitoring(stage):
    seen_by_monitor.clear()
    instance = stage.start(monitor, input="job")
    state = stage.ended(instance)
    assert state.get_output() == 4, state
    assert state.get_custom_status() == {"attempt": 4, "job": "done"}, state


def human_answers(stage):
    instance = stage.start(approval, input=3_600_000)
    stage.until(instance, stands(OrchestrationStatus.RUNNING))
    stage.client.raise_orchestration_event(instance, "approval", data={"by": "me"})
    assert stage.ended(instance).get_output() == {"by": "me"}


def human_is_silent(stage):
    assert stage.result(approval, input=100) == "nobody answered"


def event_comes_first(stage):
    """An event is kept for an instance that does not wait for it yet."""
    instance = stage.start(endless, input=0)
    for word in ["go"] * 5 + ["stop"]:
        stage.client.raise_orchestration_event(instance, "next", data=word)
    state = stage.ended(instance)
    assert state.get_output() == 5, state


CHECKS = [
    chaining,
    payloads,
    fanning_out,
    timers,
    monitoring,
    human_answers,
    human_is_silent,
    event_comes_first,
]
