"""Workers of two task types carry workflows to their end; the operator's verbs act on others."""

from conductor.client.http.models import StartWorkflowRequest
from conductor.client.http.models.rerun_workflow_request import RerunWorkflowRequest
from conductor.client.http.models.task_result import TaskResult
from conductor.client.http.models.workflow_state_update import WorkflowStateUpdate
from conductor.client.http.models.workflow_test_request import WorkflowTestRequest
from conductor.client.worker.exception import NonRetryableException
from conductor.client.worker.worker_task import worker_task
from conductor.client.workflow.task.simple_task import SimpleTask

from checks import define, ended


@worker_task(task_definition_name="sdk_greet", poll_interval_millis=50)
def greet(name: str) -> dict:
    return {"greeting": f"hello {name}"}


@worker_task(task_definition_name="sdk_count", poll_interval_millis=50)
def count(text: str) -> dict:
    if text == "hello nobody":
        raise NonRetryableException("nobody is there")
    return {"letters": len(text)}


def check(clients):
    """Answers the ids of the workflows that completed."""
    client = clients.get_workflow_client()
    ids = [client.start_workflow(request(f"n{number}", "sdk")) for number in range(20)]
    for number, workflow_id in enumerate(ids):
        workflow = ended(clients, workflow_id)
        greeting = f"hello n{number}"
        assert workflow.status == "COMPLETED", workflow.reason_for_incompletion
        assert workflow.output == {"greeting": greeting, "letters": len(greeting)}, workflow.output
        assert [task.reference_task_name for task in workflow.tasks] == ["greet", "count"]
        assert all(task.worker_id for task in workflow.tasks)
    tasks(clients, ids[0])
    failure(clients)
    execution(clients)
    verbs(clients, ids[0])
    rehearsal(client)
    return ids


def request(name, correlation_id):
    return StartWorkflowRequest(
        name="sdk_flow", version=1, input={"name": name}, correlation_id=correlation_id
    )


def tasks(clients, workflow_id):
    client = clients.get_task_client()
    first = clients.get_workflow_client().get_workflow(workflow_id, include_tasks=True).tasks[0]
    assert client.get_task(first.task_id).task_type == "sdk_greet"
    client.add_task_log(first.task_id, "looked at")
    lines = [entry.log for entry in client.get_task_logs(first.task_id)]
    assert lines == ["looked at"], lines
    polled = client.get_task_poll_data("sdk_greet")
    assert any(row.queue_name == "sdk_greet" and row.last_poll_time for row in polled), polled
    assert client.get_queue_size_for_task("sdk_greet") == 0


def failure(clients):
    workflow_id = clients.get_workflow_client().start_workflow(request("nobody", "no"))
    workflow = ended(clients, workflow_id)
    assert workflow.status == "FAILED"
    assert workflow.tasks[-1].status == "FAILED_WITH_TERMINAL_ERROR", workflow.tasks[-1]
    assert "nobody is there" in workflow.tasks[-1].reason_for_incompletion


def execution(clients):
    run = clients.get_workflow_client().execute_workflow(request("now", "at once"))
    assert run.status == "COMPLETED", run
    assert run.output["greeting"] == "hello now", run.output


def verbs(clients, completed):
    client = clients.get_workflow_client()
    client.restart_workflow(completed)
    assert ended(clients, completed).status == "COMPLETED"

    define(clients, "sdk_idle", SimpleTask("sdk_nobody_polls_this", "idle"))
    idle = client.start_workflow(StartWorkflowRequest(name="sdk_idle", version=1, input={}))
    client.pause_workflow(idle)
    assert client.get_workflow(idle, include_tasks=False).status == "PAUSED"
    client.resume_workflow(idle)
    assert client.get_workflow_status(idle).status == "RUNNING"
    client.update_variables(idle, {"seen": 1})
    assert client.get_workflow_status(idle, include_variables=True).variables == {"seen": 1}
    client.terminate_workflow(idle, reason="the test is over")
    workflow = client.get_workflow(idle, include_tasks=True)
    assert workflow.status == "TERMINATED"
    assert workflow.reason_for_incompletion == "the test is over"
    client.retry_workflow(idle)
    assert client.get_workflow_status(idle).status == "RUNNING"
    done = TaskResult(task_id="", workflow_instance_id=idle, status="COMPLETED")
    update = WorkflowStateUpdate(
        task_reference_name="idle", task_result=done, variables={"seen": 2}
    )
    run = client.update_state(idle, update, ["idle"], 10)
    assert (run.status, run.variables) == ("COMPLETED", {"seen": 2}), run

    last = client.get_workflow(completed, include_tasks=True).tasks[-1]
    again = RerunWorkflowRequest(re_run_from_task_id=last.task_id, task_input={"text": "four"})
    client.rerun_workflow(completed, again)
    assert ended(clients, completed).output["letters"] == 4


def rehearsal(client):
    mocks = {
        "greet": [{"status": "COMPLETED", "output": {"greeting": "mocked"}}],
        "count": [{"status": "COMPLETED", "output": {"letters": 6}}],
    }
    workflow = client.test_workflow(
        WorkflowTestRequest(
            name="sdk_flow", version=1, input={"name": "x"}, task_ref_to_mock_output=mocks
        )
    )
    assert workflow.status == "COMPLETED", workflow
    assert workflow.output == {"greeting": "mocked", "letters": 6}, workflow.output
