"""Work that the time limit has stopped goes on in the same job: Slurm queues it again, a stated number of times."""

import os
import signal
import subprocess

from both.limits import LIMITS
from both.messages import message


def said(most):
    """Return a line that says for which time the work goes on, "" for the first one; most: so often may it."""
    times = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    return message("goes_on", run=times + 1, most=most + 1) if times and most else ""


def queue_again(most):
    """Have Slurm queue this job again, unless it has done so as often as it may; return whether it has, and a line."""
    times = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if times >= most:
        return False, message("requeued_enough", most=most)
    # Slurm ends what still runs of the job, and there is a line left to write
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID", "")
    # the number of an array's last task stands for the whole array
    if array:
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=LIMITS.SLURM_ANSWER)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, message("not_requeued", words=error)
    if done.returncode != 0:
        return False, message("not_requeued", words=done.stderr.strip())
    return True, message("requeued", run=times + 2, most=most + 1)
