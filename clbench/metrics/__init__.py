"""What is measured: the accuracy matrix and its metrics, other libraries' variants, intervals over seeds."""
