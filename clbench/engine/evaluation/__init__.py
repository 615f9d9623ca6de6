"""Measurement: accuracies, written answers, requests, drift."""
