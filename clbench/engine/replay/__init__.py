"""Memories of earlier samples, and their policies."""
