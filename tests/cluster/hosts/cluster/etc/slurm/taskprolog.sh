#!/usr/bin/env bash
# What is printed here becomes the task's environment.
printf 'export SLURM_TMPDIR=/localscratch/%s.%s.0\n' "$SLURM_JOB_USER" "$SLURM_JOB_ID"
