"""Sweeps: processes, devices and locks of the runs, and the outcome of each run."""
