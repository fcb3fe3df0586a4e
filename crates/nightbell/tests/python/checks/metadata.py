"""Definitions and their tags: registered, read back, changed, removed."""

from conductor.client.http.models import TaskDef
from conductor.client.orkes.models.metadata_tag import MetadataTag
from conductor.client.workflow.task.simple_task import SimpleTask

from checks import define, pairs, refused


def check(clients):
    client = clients.get_metadata_client()
    tasks(client)
    workflows(clients, client)
    tags(client)


def tasks(client):
    for name in ("sdk_greet", "sdk_count", "sdk_gone"):
        client.register_task_def(TaskDef(name=name, retry_count=1, response_timeout_seconds=10))
    greet = client.get_task_def("sdk_greet")
    assert greet.name == "sdk_greet"
    greet.description = "greets"
    client.update_task_def(greet)
    assert client.get_task_def("sdk_greet").description == "greets"
    names = {task.name for task in client.get_all_task_defs()}
    assert {"sdk_greet", "sdk_count", "sdk_gone"} <= names, names
    client.unregister_task_def("sdk_gone")
    with refused(404):
        client.get_task_def("sdk_gone")


def workflows(clients, client):
    first = SimpleTask("sdk_greet", "greet").input_parameter("name", "${workflow.input.name}")
    second = SimpleTask("sdk_count", "count").input_parameter("text", first.output("greeting"))
    output = {"greeting": "${greet.output.greeting}", "letters": "${count.output.letters}"}
    define(clients, "sdk_flow", first, second, output=output)
    stored = client.get_workflow_def("sdk_flow", version=1)
    assert [task.task_reference_name for task in stored.tasks] == ["greet", "count"], stored
    assert stored.output_parameters == output

    define(clients, "sdk_gone", SimpleTask("sdk_greet", "greet"))
    names = {workflow.name for workflow in client.get_all_workflow_defs()}
    assert {"sdk_flow", "sdk_gone"} <= names, names
    client.unregister_workflow_def("sdk_gone", 1)
    with refused(404):
        client.get_workflow_def("sdk_gone", version=1)


def tags(client):
    team, kind = MetadataTag("team", "night"), MetadataTag("kind", "test")
    client.set_workflow_tags([team], "sdk_flow")
    client.add_workflow_tag(kind, "sdk_flow")
    assert pairs(client.get_workflow_tags("sdk_flow")) == ["kind=test", "team=night"]
    client.delete_workflow_tag(kind, "sdk_flow")
    assert pairs(client.get_workflow_tags("sdk_flow")) == ["team=night"]
    assert client.getWorkflowRateLimit("sdk_flow") is None
    client.setWorkflowRateLimit(7, "sdk_flow")
    client.setWorkflowRateLimit(9, "sdk_flow")
    assert client.getWorkflowRateLimit("sdk_flow") == 9
    client.removeWorkflowRateLimit("sdk_flow")
    assert client.getWorkflowRateLimit("sdk_flow") is None
    client.setTaskTags([kind], "sdk_greet")
    client.addTaskTag(team, "sdk_greet")
    assert pairs(client.getTaskTags("sdk_greet")) == ["kind=test", "team=night"]
    client.deleteTaskTag(kind, "sdk_greet")
    assert pairs(client.getTaskTags("sdk_greet")) == ["team=night"]
