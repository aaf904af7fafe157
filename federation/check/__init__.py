"""Whether a set-up can work, and what mends it where it cannot: `vnode check`.

Data flow, one step a module:

    configuration -> site          the ways to all clusters, as the agent would open them
    site -> checklist              which checks there are, and which wait for which
    checks -> runner               all of them at once, each with its time; results in order
    links versions clocks rights excess namespaces capacity
    nodes kubelet networks admission
                                   a family of checks each: reads, then a pure judgement

A check changes nothing in any cluster (dry runs, and reviews of its own rights, are all that it
creates). It runs with the agent's credentials; what these may not see is tried with an
administrator's kubeconfig if one is given, and said not to be tried otherwise. What a check raises
becomes a finding of its own, so one that fails hides no other.
"""
