"""The mutations that `tools/mutations.py` tries, by the part of the package that they change."""
