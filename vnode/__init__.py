"""A virtual kubelet in Python: all that a tenant cluster sees of a virtual node.

It knows nothing of where pods run; that is a `vnode.backend.PodBackend`.
"""
