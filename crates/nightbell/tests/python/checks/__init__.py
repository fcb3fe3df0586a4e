"""What the checks of every part of the SDK need."""

import contextlib
import time

from conductor.client.http.rest import ApiException

WAIT_MAX_SECONDS = 60


def eventually(what, ask):
    """Asks until the answer is not None."""
    end = time.monotonic() + WAIT_MAX_SECONDS
    while time.monotonic() < end:
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {WAIT_MAX_SECONDS} s")


def ended(clients, workflow_id):
    """The workflow, with its tasks, once it has ended."""

    def ask():
        workflow = clients.get_workflow_client().get_workflow(workflow_id, include_tasks=True)
        return None if workflow.status in ("RUNNING", "PAUSED") else workflow

    return eventually(f"the end of {workflow_id}", ask)


def reached(clients, workflow_id, reference):
    """Waits until the task of this reference name is in progress."""

    def ask():
        workflow = clients.get_workflow_client().get_workflow(workflow_id, include_tasks=True)
        open_tasks = [t for t in workflow.tasks if t.status == "IN_PROGRESS"]
        return True if any(t.reference_task_name == reference for t in open_tasks) else None

    eventually(f"{reference} of {workflow_id}", ask)


def define(clients, name, *tasks, output=None):
    """Registers a workflow of these tasks."""
    from conductor.client.workflow.conductor_workflow import ConductorWorkflow

    executor = clients.get_workflow_executor()
    workflow = ConductorWorkflow(name=name, version=1, executor=executor)
    for task in tasks:
        workflow >> task
    if output:
        workflow.output_parameters(output)
    workflow.register(overwrite=True)


@contextlib.contextmanager
def refused(status):
    """Checks that what is done within is answered with this status."""
    try:
        yield
    except ApiException as error:
        assert error.status == status, error
    else:
        raise AssertionError(f"it was not answered with {status}")


def pairs(tags):
    """Tags as text, in order; the SDK hands some out as values and some as objects."""
    read = [tag if isinstance(tag, dict) else tag.to_dict() for tag in tags]
    return sorted(f"{tag['key']}={tag['value']}" for tag in read)
