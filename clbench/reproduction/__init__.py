"""Published tables held against our own runs: experiments, verdicts, and the page made of them."""
