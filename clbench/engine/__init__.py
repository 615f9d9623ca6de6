"""The engine: the only place where a model is run, differentiated, moved and measured."""
