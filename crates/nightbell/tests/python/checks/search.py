"""Workflows and tasks are found by query, by free text and by correlation id, page by page."""

from conductor.client.http.models.correlation_ids_search_request import CorrelationIdsSearchRequest

from checks import refused


def check(clients, ids):
    client = clients.get_workflow_client()
    query = "workflowType = sdk_flow AND status = COMPLETED AND correlationId = 'sdk'"
    found = []
    for start in range(0, len(ids), 7):
        page = client.search(start=start, size=7, query=query)
        found.extend(row.workflow_id for row in page.results)
    assert sorted(found) == sorted(ids)

    failed = client.search(query="workflowType IN (sdk_flow) AND status IN (FAILED)")
    assert [row.status for row in failed.results] == ["FAILED"]
    with refused(400):
        client.search(query="colour = red")

    correlated = client.get_by_correlation_ids("sdk_flow", ["sdk"], include_completed=True)
    assert len(correlated["sdk"]) == len(ids)
    batch = CorrelationIdsSearchRequest(
        workflow_names=["sdk_flow"], correlation_ids=["sdk", "at once"]
    )
    correlated = client.get_by_correlation_ids_in_batch(batch, include_completed=True)
    assert {key: len(rows) for key, rows in correlated.items()} == {"sdk": len(ids), "at once": 1}

    # The SDK's clients leave the search of tasks out; its layer below has it.
    tasks = clients.get_task_client().taskResourceApi
    query = f"workflowId = '{ids[0]}' AND status = COMPLETED"
    rows = tasks.search1(start=0, size=100, free_text="*", query=query).results
    assert len(rows) >= 2 and all(row.workflow_id == ids[0] for row in rows), rows
