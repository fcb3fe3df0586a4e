"""Drives a Nightbell server with the official Conductor SDK, as its users would.

Reads the server's address from CONDUCTOR_SERVER_URL. Ends with a line that says so if every check
passed; any failed check ends it at once.
"""

import os
import time

from conductor.client.automator.task_handler import TaskHandler
from conductor.client.configuration.configuration import Configuration
from conductor.client.http.models import StartWorkflowRequest, TaskDef
from conductor.client.orkes_clients import OrkesClients
from conductor.client.worker.worker_task import worker_task
from conductor.client.workflow.conductor_workflow import ConductorWorkflow
from conductor.client.workflow.task.simple_task import SimpleTask


@worker_task(task_definition_name="sdk_greet", poll_interval_millis=50)
def greet(name: str) -> dict:
    return {"greeting": f"hello {name}"}


@worker_task(task_definition_name="sdk_count", poll_interval_millis=50)
def count(text: str) -> dict:
    return {"letters": len(text)}


def register(clients, configuration):
    metadata = clients.get_metadata_client()
    for name in ("sdk_greet", "sdk_count"):
        metadata.register_task_def(TaskDef(name=name, retry_count=1, response_timeout_seconds=10))
    assert metadata.get_task_def("sdk_greet").name == "sdk_greet"

    executor = clients.get_workflow_executor()
    workflow = ConductorWorkflow(name="sdk_flow", version=1, executor=executor)
    first = SimpleTask("sdk_greet", "greet").input_parameter("name", workflow.input("name"))
    second = SimpleTask("sdk_count", "count").input_parameter("text", first.output("greeting"))
    workflow >> first >> second
    workflow.output_parameters(
        {"greeting": "${greet.output.greeting}", "letters": "${count.output.letters}"}
    )
    workflow.register(overwrite=True)
    stored = metadata.get_workflow_def("sdk_flow", version=1)
    assert [task.task_reference_name for task in stored.tasks] == ["greet", "count"], stored
    return executor


def wait_for_end(client, workflow_id, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        workflow = client.get_workflow(workflow_id, include_tasks=True)
        if workflow.status not in ("RUNNING", "PAUSED"):
            return workflow
        time.sleep(0.05)
    raise AssertionError(f"{workflow_id} did not end in {seconds} s")


def work(clients):
    client = clients.get_workflow_client()
    ids = [
        client.start_workflow(
            StartWorkflowRequest(
                name="sdk_flow", version=1, input={"name": f"n{number}"}, correlation_id="sdk"
            )
        )
        for number in range(20)
    ]
    for number, workflow_id in enumerate(ids):
        workflow = wait_for_end(client, workflow_id)
        greeting = f"hello n{number}"
        assert workflow.status == "COMPLETED", workflow.reason_for_incompletion
        assert workflow.output == {"greeting": greeting, "letters": len(greeting)}, workflow.output
        assert [task.reference_task_name for task in workflow.tasks] == ["greet", "count"]
        assert all(task.worker_id for task in workflow.tasks)
    return client, ids


def operate(client, ids):
    found = client.search(query="workflowType = sdk_flow AND status = COMPLETED", size=100)
    assert {row.workflow_id for row in found.results} == set(ids)

    client.restart_workflow(ids[0])
    assert wait_for_end(client, ids[0]).status == "COMPLETED"

    idle = client.start_workflow(StartWorkflowRequest(name="sdk_idle", version=1, input={}))
    client.pause_workflow(idle)
    assert client.get_workflow(idle, include_tasks=False).status == "PAUSED"
    client.resume_workflow(idle)
    assert client.get_workflow(idle, include_tasks=False).status == "RUNNING"
    client.terminate_workflow(idle, reason="the test is over")
    ended = client.get_workflow(idle, include_tasks=True)
    assert ended.status == "TERMINATED" and ended.reason_for_incompletion == "the test is over"


def register_idle(executor):
    workflow = ConductorWorkflow(name="sdk_idle", version=1, executor=executor)
    workflow >> SimpleTask("sdk_nobody_polls_this", "idle")
    workflow.register(overwrite=True)


def main():
    configuration = Configuration(server_api_url=os.environ["CONDUCTOR_SERVER_URL"])
    clients = OrkesClients(configuration)
    executor = register(clients, configuration)
    register_idle(executor)
    handler = TaskHandler(configuration=configuration, scan_for_annotated_workers=True)
    handler.start_processes()
    try:
        client, ids = work(clients)
        operate(client, ids)
    finally:
        handler.stop_processes()
    print("all checks passed")


if __name__ == "__main__":
    main()
