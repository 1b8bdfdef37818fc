"""Tasks: what kind of prediction a recipe learns."""
