"""Fine-tuning: strategy, optimizer, callbacks, and the training of a recipe."""
