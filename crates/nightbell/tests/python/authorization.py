"""Administers access to a Nightbell server with the official Conductor SDK, as scripts written for Orkes do.

Reads the server's address from CONDUCTOR_SERVER_URL, and an administrator's key from CONDUCTOR_AUTH_KEY and
CONDUCTOR_AUTH_SECRET. Ends with a line that says so if every check passed; any failed check ends it at once.
"""

import os

from conductor.client.configuration.configuration import Configuration
from conductor.client.configuration.settings.authentication_settings import AuthenticationSettings
from conductor.client.http.models.create_or_update_application_request import CreateOrUpdateApplicationRequest
from conductor.client.http.models.subject_ref import SubjectRef, SubjectType
from conductor.client.http.models.target_ref import TargetRef, TargetType
from conductor.client.http.models.upsert_group_request import UpsertGroupRequest
from conductor.client.http.models.upsert_user_request import UpsertUserRequest
from conductor.client.orkes.models.access_type import AccessType
from conductor.client.orkes_clients import OrkesClients

USER = "ann@example.com"


def applications(client):
    made = client.create_application(CreateOrUpdateApplicationRequest("etl"))
    assert client.get_application(made.id).name == "etl"
    assert [it.id for it in client.list_applications()] == [made.id]
    client.update_application(CreateOrUpdateApplicationRequest("etl-2"), made.id)
    client.add_role_to_application_user(made.id, "WORKER")
    client.add_role_to_application_user(made.id, "UNRESTRICTED_WORKER")
    client.remove_role_from_application_user(made.id, "UNRESTRICTED_WORKER")
    key = client.create_access_key(made.id)
    settings = AuthenticationSettings(key.id, key.secret)
    own = Configuration(server_api_url=os.environ["CONDUCTOR_SERVER_URL"], authentication_settings=settings)
    workers = OrkesClients(own).get_task_client()
    granted = (SubjectRef(SubjectType.USER, f"app:{made.id}"), TargetRef(TargetType.TASK_DEF, "load"))
    client.grant_permissions(*granted, [AccessType.EXECUTE])
    assert not getattr(workers.poll_task("load"), "task_id", None), "there is no task"
    assert client.get_app_by_access_key_id(key.id)["name"] == "etl-2"
    assert client.toggle_access_key_status(made.id, key.id).status == "INACTIVE"
    assert [it.status for it in client.get_access_keys(made.id)] == ["INACTIVE"]
    client.delete_access_key(made.id, key.id)
    client.delete_application(made.id)
    assert client.list_applications() == []


def people(client):
    group = client.upsert_group(UpsertGroupRequest(description="Data people", roles=["USER"]), "data")
    assert (group.id, group.description) == ("data", "Data people")
    user = client.upsert_user(UpsertUserRequest(name="Ann Smith", roles=["USER"], groups=["data"]), USER)
    assert (user.id, user.name) == (USER, "Ann Smith")
    assert [it.id for it in client.get_users_in_group("data")] == [USER]
    client.remove_user_from_group("data", USER)
    client.add_users_to_group("data", [USER])
    target = TargetRef(TargetType.WORKFLOW_DEF, "etl-load")
    subjects = [SubjectRef(SubjectType.USER, USER), SubjectRef(SubjectType.GROUP, "data")]
    for subject in subjects:
        client.grant_permissions(subject, target, [AccessType.READ, AccessType.EXECUTE])
    found = client.get_permissions(target)
    assert sorted(found) == ["EXECUTE", "READ"] and len(found["READ"]) == 2, found
    granted = client.get_granted_permissions_for_user(USER)
    assert [it.target.id for it in granted] == ["etl-load"] and sorted(granted[0].access) == ["EXECUTE", "READ"]
    assert len(client.get_granted_permissions_for_group("data")) == 1
    assert client.check_permissions(USER, "WORKFLOW_DEF", "etl-load")["EXECUTE"]
    for subject in subjects:
        client.remove_permissions(subject, target, [AccessType.READ, AccessType.EXECUTE])
    assert client.get_permissions(target) == {}
    assert {it.name for it in client.list_all_roles()} >= {"ADMIN", "USER"}
    client.delete_user(USER)
    client.delete_group("data")
    assert client.list_users() == [] and client.list_groups() == []


def main():
    clients = OrkesClients(Configuration(server_api_url=os.environ["CONDUCTOR_SERVER_URL"]))
    client = clients.get_authorization_client()
    applications(client)
    people(client)
    print("all checks passed")


if __name__ == "__main__":
    main()
