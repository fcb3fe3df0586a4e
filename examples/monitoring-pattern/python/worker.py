"""The monitoring pattern as code: the orchestration and its activity, in a worker of their own.

Needs the packages of requirements.txt and a Nightbell server. ENDPOINT says where that is
(http://localhost:8080), TASKHUB whose instances these are (default).
"""

import os
import threading
from datetime import timedelta

from durabletask import task
from durabletask.azuremanaged.worker import DurableTaskSchedulerWorker

# How many checks the job of this example needs.
CHECKS = 4


def check_job_status(ctx: task.ActivityContext, wish: dict) -> dict:
    """Stands for the question to a real service."""
    check = wish["check_count"]
    status = "Completed" if check >= CHECKS else "Running" if check > 1 else "Unknown"
    return {"job_id": wish["job_id"], "status": status, "check_count": check}


def monitoring_job_orchestrator(ctx: task.OrchestrationContext, wish: dict):
    """Looks at a job again and again until it has completed or the time is up."""
    job = wish["job_id"]
    interval = timedelta(seconds=wish.get("polling_interval_seconds", 5))
    # The orchestrator's own clock: a replay sees the same instants.
    begun = ctx.current_utc_datetime
    until = begun + timedelta(seconds=wish.get("timeout_seconds", 30))
    checks, final = 0, "Timeout"
    while ctx.current_utc_datetime < until:
        checks += 1
        seen = yield ctx.call_activity(
            check_job_status, input={"job_id": job, "check_count": checks}
        )
        ctx.set_custom_status(
            {
                "job_id": job,
                "status": seen["status"],
                "check_count": checks,
                "last_check_time": ctx.current_utc_datetime.isoformat() + "Z",
            }
        )
        if seen["status"] == "Completed":
            final = "Completed"
            break
        # A durable timer: the wait outlives this worker and the server.
        yield ctx.create_timer(ctx.current_utc_datetime + interval)
    return {
        "job_id": job,
        "final_status": final,
        "checks_performed": checks,
        "monitoring_duration_seconds": round((ctx.current_utc_datetime - begun).total_seconds(), 1),
    }


def main():
    worker = DurableTaskSchedulerWorker(
        host_address=os.environ.get("ENDPOINT", "http://localhost:8080"),
        secure_channel=False,
        taskhub=os.environ.get("TASKHUB", "default"),
        token_credential=None,
    )
    with worker:
        worker.add_orchestrator(monitoring_job_orchestrator)
        worker.add_activity(check_job_status)
        worker.start()
        print("working; stop with Ctrl-C", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
