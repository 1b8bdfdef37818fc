"""Train recipes."""
