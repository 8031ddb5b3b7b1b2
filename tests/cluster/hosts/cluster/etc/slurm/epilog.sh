#!/usr/bin/env bash
set -euo pipefail
rm -rf "/localscratch/$SLURM_JOB_USER.$SLURM_JOB_ID.0"
