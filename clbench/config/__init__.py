"""From overrides to a job: composed by Hydra, resolved, checked, and named."""
