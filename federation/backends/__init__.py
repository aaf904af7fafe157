"""Implementations of `vnode.backend.PodBackend`."""
