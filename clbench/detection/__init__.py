"""Detectors: the similarity of an input to the data that a request asked to forget (O3; Gao et al., ICLR 2025)."""
