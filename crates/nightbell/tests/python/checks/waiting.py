"""A WAIT and a HUMAN task are ended from outside: by reference, synchronously, and by signals."""

from conductor.client.http.models import StartWorkflowRequest
from conductor.client.workflow.task.human_task import HumanTask
from conductor.client.workflow.task.wait_task import WaitTask

from checks import define, ended, reached


def check(clients):
    output = {
        "first": "${first.output.result.by}",
        "second": "${second.output.by}",
        "sign": "${sign.output.by}",
        "last": "${last.output.by}",
    }
    tasks = (WaitTask("first"), WaitTask("second"), HumanTask("sign"), WaitTask("last"))
    define(clients, "sdk_wait", *tasks, output=output)
    start = StartWorkflowRequest(name="sdk_wait", version=1, input={})
    workflow_id = clients.get_workflow_client().start_workflow(start)

    client = clients.get_task_client()
    reached(clients, workflow_id, "first")
    client.update_task_by_ref_name(workflow_id, "first", "COMPLETED", {"by": "reference"})
    reached(clients, workflow_id, "second")
    seen = client.update_task_sync(workflow_id, "second", "COMPLETED", {"by": "sync"})
    assert seen.workflow_id == workflow_id
    reached(clients, workflow_id, "sign")
    # The SDK's clients leave signals out; its layer below has them.
    raw = client.taskResourceApi
    answer = raw.signal_workflow_task_sync(workflow_id, "COMPLETED", {"by": "signal"})
    assert answer.response_type == "TARGET_WORKFLOW", answer
    assert answer.workflow_id == workflow_id
    reached(clients, workflow_id, "last")
    raw.signal_workflow_task_async(workflow_id, "COMPLETED", {"by": "later"})
    workflow = ended(clients, workflow_id)
    assert workflow.status == "COMPLETED", workflow.reason_for_incompletion
    expected = {"first": "reference", "second": "sync", "sign": "signal", "last": "later"}
    assert workflow.output == expected, workflow.output
