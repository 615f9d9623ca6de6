"""Sweeps: what is done already, who does the rest, and what became of each run."""
