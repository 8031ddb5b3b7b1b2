#!/usr/bin/env bash
# $SLURM_TMPDIR: the node's own disk, made and removed with the job.
set -euo pipefail
install -d -o "$SLURM_JOB_UID" -m 700 "/localscratch/$SLURM_JOB_USER.$SLURM_JOB_ID.0"
