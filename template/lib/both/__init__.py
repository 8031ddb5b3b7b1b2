"""What runs on both sides, in Python as in bash: messages, time limits, states of jobs."""
