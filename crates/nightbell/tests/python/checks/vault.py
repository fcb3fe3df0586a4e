"""A secret is written, used and listed, and its value never comes out; a variable's does."""

import json

from conductor.client.http.models import StartWorkflowRequest
from conductor.client.orkes.models.metadata_tag import MetadataTag
from conductor.client.workflow.task.simple_task import SimpleTask

from checks import define, ended, pairs, refused

VALUE = "s3cr3t-of-the-python-sdk"


def check(clients):
    client = clients.get_secret_client()
    client.put_secret("sdk_token", VALUE)
    assert "sdk_token" in client.list_all_secret_names()
    assert "sdk_token" in client.list_secrets_that_user_can_grant_access_to()
    assert client.secret_exists("sdk_token")
    with refused(403):
        client.get_secret("sdk_token")
    client.set_secret_tags([MetadataTag("team", "night")], "sdk_token")
    assert pairs(client.get_secret_tags("sdk_token")) == ["team=night"]
    client.delete_secret_tags([MetadataTag("team", "night")], "sdk_token")
    assert client.get_secret_tags("sdk_token") == []

    environment(client.api_client)
    use(clients)
    client.delete_secret("sdk_token")
    assert "sdk_token" not in client.list_all_secret_names()


def environment(raw):
    """The SDK has no client for variables of the environment, but a way to call any path."""

    def call(method, body=None):
        answer = "str" if method == "GET" else None
        return raw.call_api(
            "/environment/sdk_region",
            method,
            header_params={"Content-Type": "text/plain"},
            body=body,
            response_type=answer,
            _return_http_data_only=True,
        )

    call("PUT", "north")
    assert call("GET") == "north"


def use(clients):
    """A worker is handed what nobody is shown."""
    count = SimpleTask("sdk_count", "count").input_parameter(
        "text", "${workflow.env.sdk_region}: ${workflow.secrets.sdk_token}"
    )
    define(clients, "sdk_secret", count)
    start = StartWorkflowRequest(name="sdk_secret", version=1, input={})
    workflow = ended(clients, clients.get_workflow_client().start_workflow(start))
    assert workflow.status == "COMPLETED", workflow.reason_for_incompletion
    task = workflow.tasks[0]
    assert task.output_data["letters"] == len("north: ") + len(VALUE), task.output_data
    assert VALUE not in json.dumps(workflow.to_dict(), default=str), "the value is masked"
