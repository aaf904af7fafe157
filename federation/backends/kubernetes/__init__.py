"""A compute Kubernetes cluster as a place to run tenant pods."""
