"""The TLS identity of virtual nodes: where certificates come from, and how they are shown."""
