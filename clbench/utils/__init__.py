"""Small tools that know nothing of continual learning."""
