"""Starts the monitoring of a job and follows it until it is over.

    python client.py [JOB_ID [POLLING_INTERVAL_SECONDS [TIMEOUT_SECONDS]]]
"""

import json
import os
import sys
import time
import uuid

from durabletask.azuremanaged.client import DurableTaskSchedulerClient
from durabletask.client import OrchestrationStatus

ENDED = {
    OrchestrationStatus.COMPLETED,
    OrchestrationStatus.FAILED,
    OrchestrationStatus.TERMINATED,
}


def main(arguments):
    client = DurableTaskSchedulerClient(
        host_address=os.environ.get("ENDPOINT", "http://localhost:8080"),
        secure_channel=False,
        taskhub=os.environ.get("TASKHUB", "default"),
        token_credential=None,
    )
    job = arguments[0] if arguments else f"job-{uuid.uuid4()}"
    interval = float(arguments[1]) if len(arguments) > 1 else 5
    timeout = float(arguments[2]) if len(arguments) > 2 else 30
    wish = {"job_id": job, "polling_interval_seconds": interval, "timeout_seconds": timeout}
    instance = client.schedule_new_orchestration("monitoring_job_orchestrator", input=wish)
    print(f"monitoring {job} as {instance}", file=sys.stderr)
    told = None
    while True:
        state = client.get_orchestration_state(instance)
        if state.serialized_custom_status != told:
            told = state.serialized_custom_status
            print(told, file=sys.stderr)
        if state.runtime_status in ENDED:
            break
        time.sleep(min(interval, 1) / 2)
    state.raise_if_failed()
    print(json.dumps(json.loads(state.serialized_output)))


if __name__ == "__main__":
    main(sys.argv[1:])
