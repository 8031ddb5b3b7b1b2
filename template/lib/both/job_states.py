"""What Slurm says of a job."""

ENDED = (
    "CANCELLED", "COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE",
    "REVOKED",
)  # fmt: skip
"""Its states once it is over (https://slurm.schedmd.com/squeue.html, job state codes)."""
FORGOTTEN = "forgotten"
"""What states.sh says in place of one where Slurm does not know the job, because it ended too long ago."""
