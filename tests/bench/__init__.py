"""How close to the API servers' own speed: `python -m tests.bench PART...`.

What flows where: `site` starts a tenant and a compute cluster of simulated nodes and gives the
bridge its rights; `bridge` is what stands between them: our agent, or any other virtual kubelet by
its command line. `workloads` are manifests. `watching` follows pods in both clusters, in a process
of its own (`watcher`), whose moments `observer` gathers into a `timeline`; `calls` counts what API
servers were asked, from their audit logs. `one` puts one workload on one variant and says all about
it; how late our agent's event loop was comes by `scraper` and `lag`. The parts are `speed`,
`latency`, `foreign`, `restart`, `distance` (by `delay`, a link with a delay), and, with clusters of
their own and `virtual_nodes` to wait for, `wide` and `tenants`. Their reports are judged against
`targets`, and `page` and `plots` write docs/benchmarks.
"""
