"""Drives a Nightbell server with the client of the Durable Functions SDK for Python, unmodified.

The client is given the bindings that a Functions host would give it, with the addresses of the
server in CONDUCTOR_SERVER_URL. Ends with a line that says so if every check passed.
"""

import asyncio
import json
import os
import time
import urllib.request
from datetime import datetime, timedelta, timezone

import azure.functions as func
from azure.durable_functions import DurableOrchestrationClient, EntityId, OrchestrationRuntimeStatus

SERVER = os.environ["CONDUCTOR_SERVER_URL"].removesuffix("/api")
BASE = f"{SERVER}/runtime/webhooks/durabletask"
INSTANCE = f"{BASE}/instances/INSTANCEID"


def bindings(rpc):
    """What a host hands to the client."""
    return json.dumps(
        {
            "taskHubName": "default",
            "creationUrls": {"createNewInstancePostUri": f"{BASE}/orchestrators/{{functionName}}[/{{instanceId}}]"},
            "managementUrls": {
                "id": "INSTANCEID",
                "statusQueryGetUri": f"{INSTANCE}?taskHub=default",
                "sendEventPostUri": f"{INSTANCE}/raiseEvent/{{eventName}}?taskHub=default",
                "terminatePostUri": f"{INSTANCE}/terminate?reason={{text}}&taskHub=default",
            },
            "rpcBaseUrl": rpc,
        }
    )


def define(name, tasks, output=None):
    definition = {"name": name, "version": 1, "schemaVersion": 2, "tasks": tasks}
    definition["outputParameters"] = output or {}
    # New or not: each round of checks defines the same.
    request = urllib.request.Request(
        f"{SERVER}/api/metadata/workflow",
        json.dumps([definition]).encode(),
        {"content-type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request).close()


def task(name, kind, **inputs):
    return {"name": name, "taskReferenceName": name, "type": kind, "inputParameters": inputs}


async def until(client, instance, wanted):
    """Waits for a status, as long as a busy machine may take."""
    deadline = time.monotonic() + 60
    while True:
        status = await client.get_status(instance, show_input=True)
        if status.runtime_status == wanted:
            return status
        assert time.monotonic() < deadline, f"{instance}: {status.to_json()}"
        await asyncio.sleep(0.02)


async def fails(awaited, words):
    try:
        await awaited
    except Exception as error:
        assert words in str(error), f"{error!r} does not say {words!r}"
        return
    raise AssertionError(f"nothing failed with {words!r}")


async def life(client, prefix):
    """Started, told of an event, ended, purged."""
    custom = task("say", "SET_VARIABLE", customStatus={"step": "${workflow.input.n}"})
    define("approval", [custom, task("Approval", "WAIT")], {"by": "${Approval.output.by}"})
    instance = await client.start_new("approval", f"{prefix}-1", {"n": 1})
    assert instance == f"{prefix}-1", instance
    status = await until(client, instance, OrchestrationRuntimeStatus.Running)
    assert status.name == "approval" and status.instance_id == instance
    assert status.input_ == {"n": 1}, status.input_
    assert status.custom_status == {"step": 1}, status.custom_status
    assert abs(datetime.now(timezone.utc) - status.created_time) < timedelta(minutes=5)
    await fails(client.start_new("approval", instance, {"n": 2}), "exists already")
    await client.suspend(instance, "lunch break")
    await until(client, instance, OrchestrationRuntimeStatus.Suspended)
    await client.resume(instance, "back")
    await client.raise_event(instance, "approval", {"by": "ann"})
    status = await until(client, instance, OrchestrationRuntimeStatus.Completed)
    assert status.output == {"by": "ann"}, status.output
    await fails(client.raise_event(instance, "approval", 1), "is gone")
    await fails(client.raise_event("nobody", "approval", 1), "No instance with ID nobody")
    restarted = await client.restart(instance)
    assert restarted["id"] != instance, restarted
    await client.terminate(restarted["id"], "enough of it")
    status = await until(client, restarted["id"], OrchestrationRuntimeStatus.Terminated)
    assert status.output == "enough of it", status.output
    assert (await client.purge_instance_history(instance)).instances_deleted == 1
    assert (await client.purge_instance_history(instance)).instances_deleted == 0
    assert not await client.get_status(instance)
    await fails(client.terminate(instance, "again"), "No instance with ID")


async def failure(client, prefix):
    """Failed, shown with its history, rewound."""
    define("fragile", [{"name": "t", "taskReferenceName": "t", "type": "SIMPLE"}])
    instance = await client.start_new("fragile", f"{prefix}-2")
    await fails(client.rewind(instance, "early"), "unexpected payload")
    await fails(client.rewind("nobody", "early"), "No instance")
    fail(instance)
    status = await until(client, instance, OrchestrationRuntimeStatus.Failed)
    assert "no luck" in status.output, status.output
    shown = await client.get_status(instance, show_history=True, show_history_output=True)
    events = [event["EventType"] for event in shown.historyEvents]
    assert events == ["ExecutionStarted", "TaskFailed", "ExecutionCompleted"], events
    await client.rewind(instance, "again")
    await until(client, instance, OrchestrationRuntimeStatus.Running)
    await client.terminate(instance, "over")
    await fails(client.rewind(instance, "late"), "only supported on failed")


def fail(instance):
    """Takes the task of a run as its worker and gives it up."""
    polled = urllib.request.urlopen(f"{SERVER}/api/tasks/poll/batch/t?timeout=5000&count=1")
    found = json.load(polled)[0]
    assert found["workflowInstanceId"] == instance, found
    report = {
        "taskId": found["taskId"],
        "workflowInstanceId": instance,
        "status": "FAILED_WITH_TERMINAL_ERROR",
        "reasonForIncompletion": "no luck",
    }
    request = urllib.request.Request(
        f"{SERVER}/api/tasks", json.dumps(report).encode(), {"content-type": "application/json"}
    )
    urllib.request.urlopen(request).close()


async def lists(client, prefix):
    """Listed and purged by what they are."""
    define("quick", [task("n", "NOOP")])
    begun = datetime.now(timezone.utc) - timedelta(minutes=5)
    for number in range(3):
        await client.start_new("quick", f"{prefix}-list-{number}")
        await until(client, f"{prefix}-list-{number}", OrchestrationRuntimeStatus.Completed)
    every = await client.get_status_all()
    assert len(every) >= 3, every
    found = await client.get_status_by(
        created_time_from=begun,
        created_time_to=begun + timedelta(hours=1),
        runtime_status=[OrchestrationRuntimeStatus.Completed],
        instance_id_prefix=f"{prefix}-list-",
    )
    assert {it.instance_id for it in found} == {f"{prefix}-list-{n}" for n in range(3)}, found
    none = await client.get_status_by(created_time_to=begun, instance_id_prefix=f"{prefix}-list-")
    assert none == [], none
    purged = await client.purge_instance_history_by(
        begun, runtime_status=[OrchestrationRuntimeStatus.Completed]
    )
    assert purged.instances_deleted >= 3, purged.instances_deleted


async def answers(client, prefix):
    """What a function would answer its own caller."""
    define("sum", [task("n", "NOOP")], {"sum": "${workflow.input.n}"})
    request = func.HttpRequest("POST", "https://bell.example/api/sum", body=b"")
    instance = await client.start_new("sum", f"{prefix}-3", {"n": 7})
    answer = await client.wait_for_completion_or_create_check_status_response(request, instance, 60000, 20)
    assert (answer.status_code, json.loads(answer.get_body())) == (200, {"sum": 7})
    answer = client.create_check_status_response(request, instance)
    links = json.loads(answer.get_body())
    assert answer.status_code == 202 and links["id"] == instance, links
    assert links["statusQueryGetUri"].startswith("https://bell.example/runtime/"), links
    await fails(client.start_new("workflow:nothing"), "No such workflow found by name: nothing")


async def code(client, prefix):
    """What no definition bears the name of waits for a worker that knows it."""
    instance = await client.start_new("nobody_knows", f"{prefix}-4", [1, 2], version="2.0")
    status = await client.get_status(instance)
    assert status.runtime_status == OrchestrationRuntimeStatus.Pending, status.to_json()
    await client.terminate(instance, "nobody will")
    entity = EntityId("Counter", "a")
    await client.signal_entity(entity, "add", 5)
    assert not (await client.read_entity_state(entity)).entity_exists


async def main():
    for number, rpc in enumerate([f"{BASE}/", f"{SERVER}/durabletask/"]):
        client = DurableOrchestrationClient(bindings(rpc))
        for check in [life, failure, lists, answers, code]:
            print(f"{rpc}: {check.__name__}", flush=True)
            await check(client, f"run{number}")
    print("all checks passed")


asyncio.run(main())
