"""Read, check, split, tokenize and batch rows."""
