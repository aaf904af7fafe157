"""Third-party judges, unchanged, against a virtual node: `make conformance`.

Two judges. virtual-kubelet's own end-to-end suite (`virtual_kubelet/`) knows what a virtual kubelet
must answer. Kubernetes' own `e2e.test` (`kubernetes/`) knows what pods on a node must do: its tests
run once directly on the compute cluster's node, which shows what passes on this machine at all, and
once in the tenant, whose only node is a virtual one that forwards to the same compute node.

    site        clusters and an agent, set up as each judge needs it
    page        docs/conformance.md from what the judges said
    __main__    the command

The rule: every test that starts a pod and passes directly passes through the virtual node too, or
stands with its reason in `kubernetes/by_design.yaml`. Nothing is tried twice.
"""
