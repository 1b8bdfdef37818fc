"""Console, files, cache, errors, devices and compatibility."""
