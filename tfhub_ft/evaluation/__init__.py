"""How good a model is: metrics, and how they are shown."""
