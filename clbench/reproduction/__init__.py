"""Comparison of published tables with our own runs: experiments, verdicts, and the page that shows them."""
