"""Pictures from records: the accuracy matrix, curves, drift, subspaces and clients."""
