"""Drives a Nightbell server that asks for keys with the client of the Durable Functions SDK.

Reads the server's address from CONDUCTOR_SERVER_URL and the key from CONDUCTOR_AUTH_SECRET. Ends with a
line that says so if every check passed; any failed check ends it at once.
"""

import asyncio
import json
import os
import urllib.error
import urllib.request

import azure.functions as func
from azure.durable_functions import DurableOrchestrationClient

SERVER = os.environ["CONDUCTOR_SERVER_URL"].removesuffix("/api")
KEY = os.environ["CONDUCTOR_AUTH_SECRET"]
PATH = "runtime/webhooks/durabletask"
FLOW = {
    "name": "functions_key",
    "version": 1,
    "schemaVersion": 2,
    "tasks": [{"name": "n", "taskReferenceName": "n", "type": "NOOP"}],
}


def bindings(key, address):
    """What a host hands to the client: its system key as `code`, and the same in the address."""
    instance = f"{SERVER}/{PATH}/instances/INSTANCEID"
    code = f"taskHub=default&code={key}"
    return json.dumps(
        {
            "taskHubName": "default",
            "creationUrls": {},
            "managementUrls": {"id": "INSTANCEID", "statusQueryGetUri": f"{instance}?{code}"},
            "rpcBaseUrl": f"{address}/{PATH}/",
        }
    )


def ask(address, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    headers["content-type"] = "application/json"
    request = urllib.request.Request(address, data, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


async def refused(client):
    try:
        await client.start_new("functions_key")
    except Exception as error:
        assert "INVALID_TOKEN" in str(error), error
        return
    raise AssertionError("a client without a key was let in")


async def main():
    status, told = ask(f"{SERVER}/api/metadata/workflow?overwrite=true", FLOW, authorization=f"Bearer {KEY}")
    assert status == 200, told
    for address in (SERVER, SERVER.replace("://", "://any:nb_wrong@")):
        await refused(DurableOrchestrationClient(bindings(KEY, address)))

    client = DurableOrchestrationClient(bindings(KEY, SERVER.replace("://", f"://any:{KEY}@")))
    instance = await client.start_new("functions_key", "functions-key-1")
    request = func.HttpRequest("POST", f"{SERVER}/api/x", body=b"")
    answer = await client.wait_for_completion_or_create_check_status_response(request, instance, 60000, 20)
    assert answer.status_code == 200, answer.get_body()
    # Whoever is given the link follows it with what is in it.
    links = json.loads(client.create_check_status_response(request, instance).get_body())
    status, told = ask(links["statusQueryGetUri"])
    assert (status, told["runtimeStatus"]) == (200, "Completed"), told

    # Links that the server makes hold no key, but a code of their own, good for this instance alone.
    status, told = ask(f"{SERVER}/{PATH}/orchestrators/functions_key?code={KEY}", {})
    assert status == 202 and KEY not in json.dumps(told), told
    link = told["statusQueryGetUri"]
    status, followed = ask(link)
    assert status in (200, 202), followed
    status, other = ask(link.replace(told["id"], "functions-key-1"))
    assert (status, other["error"]) == (401, "INVALID_TOKEN"), other
    status, bare = ask(link.split("?")[0])
    assert (status, bare["error"]) == (401, "INVALID_TOKEN"), bare
    status, told = ask(link, **{"x-functions-key": KEY})
    assert status in (200, 202), told
    print("all checks passed")


asyncio.run(main())
