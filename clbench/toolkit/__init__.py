"""For authors of methods: layers, weights and importances of any model. The engine imports nothing of it."""
