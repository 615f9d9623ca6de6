"""Several seeds in lockstep on one device."""
