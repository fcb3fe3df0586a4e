"""An event of one workflow starts another through a handler."""

from conductor.client.http.api.event_resource_api import EventResourceApi
from conductor.client.http.models import StartWorkflowRequest
from conductor.client.http.models.action import Action
from conductor.client.http.models.event_handler import EventHandler
from conductor.client.http.models.start_workflow import StartWorkflow
from conductor.client.workflow.task.event_task import ConductorEventTask
from conductor.client.workflow.task.set_variable_task import SetVariableTask

from checks import define, ended, eventually

EVENT = "conductor:sdk_sender:told"


def check(clients):
    # The SDK has no client for events; its layer below has the calls.
    client = EventResourceApi(clients.get_workflow_client().api_client)
    define(clients, "sdk_heard", SetVariableTask("note").input_parameter("heard", True))
    told = ConductorEventTask("told", "told").input_parameter("word", "${workflow.input.word}")
    define(clients, "sdk_sender", told)
    start = StartWorkflow(name="sdk_heard", version=1, input={"word": "${word}"})
    action = Action(action="start_workflow", start_workflow=start)
    handler = EventHandler(name="sdk_on_told", event=EVENT, active=True, actions=[action])
    client.add_event_handler(handler)
    assert "sdk_on_told" in names(client.get_event_handlers())
    acts(clients)

    handler.active = False
    client.update_event_handler(handler)
    assert client.get_event_handlers_for_event(EVENT, active_only=True) == []
    assert names(client.get_event_handlers_for_event(EVENT, active_only=False)) == ["sdk_on_told"]
    client.remove_event_handler_status("sdk_on_told")
    assert "sdk_on_told" not in names(client.get_event_handlers())


def names(handlers):
    return [handler.name for handler in handlers]


def acts(clients):
    client = clients.get_workflow_client()
    start = StartWorkflowRequest(name="sdk_sender", version=1, input={"word": "ding"})
    sent = ended(clients, client.start_workflow(start))
    assert sent.status == "COMPLETED", sent.reason_for_incompletion

    def ask():
        page = client.search(query="workflowType = sdk_heard AND status = COMPLETED")
        return page.results[0] if page.results else None

    row = eventually("the workflow that the handler starts", ask)
    heard = client.get_workflow(row.workflow_id, include_tasks=True)
    assert heard.input["word"] == "ding", heard.input
