"""How a session reaches a model."""
