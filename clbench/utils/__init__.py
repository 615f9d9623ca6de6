"""Small tools without knowledge of continual learning."""
