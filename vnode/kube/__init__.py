"""The Kubernetes API as bytes and small structs."""
