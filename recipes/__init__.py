"""The recipes, a module each: to be used, read, copied and changed."""
