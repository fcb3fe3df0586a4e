"""A schedule fires, is found among its executions, is paused and resumed, and goes."""

from datetime import datetime, timezone

from conductor.client.http.models import StartWorkflowRequest
from conductor.client.http.models.save_schedule_request import SaveScheduleRequest
from conductor.client.orkes.models.metadata_tag import MetadataTag
from conductor.client.workflow.task.set_variable_task import SetVariableTask

from checks import define, ended, eventually, pairs, refused

NAME = "sdk_every_second"


def check(clients):
    client = clients.get_scheduler_client()
    define(clients, "sdk_tick", SetVariableTask("note").input_parameter("fired", True))
    start = StartWorkflowRequest(name="sdk_tick", version=1, input={"from": "schedule"})
    client.save_schedule(
        SaveScheduleRequest(
            name=NAME,
            cron_expression="* * * * * *",
            zone_id="Europe/Berlin",
            description="of the test",
            start_workflow_request=start,
        )
    )
    stored = client.get_schedule(NAME)
    assert (stored.cron_expression, stored.zone_id) == ("* * * * * *", "Europe/Berlin"), stored
    assert stored.start_workflow_request.name == "sdk_tick"
    fires(clients, client)

    client.pause_schedule(NAME, reason="enough")
    paused = client.get_schedule(NAME)
    assert paused.paused and paused.paused_reason == "enough", paused
    client.resume_schedule(NAME)
    assert not client.get_schedule(NAME).paused

    client.set_scheduler_tags([MetadataTag("team", "night")], NAME)
    assert pairs(client.get_scheduler_tags(NAME)) == ["team=night"]
    client.delete_scheduler_tags([MetadataTag("team", "night")], NAME)
    assert client.get_scheduler_tags(NAME) == []

    assert [schedule.name for schedule in client.get_all_schedules("sdk_tick")] == [NAME]
    client.delete_schedule(NAME)
    assert client.get_all_schedules("sdk_tick") == []
    next_times(client)


def fires(clients, client):
    def ask():
        page = client.search_schedule_executions(
            size=10, sort="scheduledTime:DESC", query=f"scheduleName = '{NAME}'"
        )
        return next((row for row in page.results if row.state == "EXECUTED"), None)

    row = eventually(f"{NAME} fires", ask)
    assert (row.schedule_name, row.workflow_name) == (NAME, "sdk_tick"), row
    assert row.scheduled_time % 1000 == 0, row
    workflow = ended(clients, row.workflow_id)
    assert workflow.status == "COMPLETED", workflow.reason_for_incompletion
    assert workflow.input["from"] == "schedule", workflow.input


def next_times(client):
    start = int(datetime(2100, 1, 1, tzinfo=timezone.utc).timestamp() * 1000)
    times = client.get_next_few_schedule_execution_times(
        "0 0 9 * * MON", schedule_start_time=start, limit=3
    )
    expected = [datetime(2100, 1, day, 9, tzinfo=timezone.utc) for day in (4, 11, 18)]
    assert times == [int(moment.timestamp() * 1000) for moment in expected], times
    with refused(400):
        client.get_next_few_schedule_execution_times("not a cron line")
