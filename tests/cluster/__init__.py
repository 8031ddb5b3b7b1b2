"""A real Slurm cluster, a laptop and the network between them, on one machine (see README.md)."""
