"""Tools for authors of methods: layers, weights and importances of any model. The engine never imports them."""
