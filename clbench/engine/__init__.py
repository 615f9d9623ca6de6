"""The engine: the only place that runs, trains and measures a model."""
