"""The lifecycle of pods on virtual nodes against a `vnode.backend.PodBackend`."""
