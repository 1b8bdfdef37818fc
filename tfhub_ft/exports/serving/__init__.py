"""Configuration, requests and documentation for TF Serving."""
