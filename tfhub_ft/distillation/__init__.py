"""Train smaller models on the predictions of larger ones."""
