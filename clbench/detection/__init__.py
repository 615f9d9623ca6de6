"""Detectors of data: how much an input is like what a request asked to forget (O3; Gao et al., ICLR 2025)."""
