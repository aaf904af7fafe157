"""Streams under load: `python -m tests.load sessions|throughput|fuzz`.

What flows where: `site` starts clusters and an agent, or is given those of other tests; `client`
is the one client program, whose sessions go the two `Way`s, directly to the compute cluster's API
server and through the tenant's; `sessions`, `throughput` and `fuzz` measure. Reports
and looks at processes are those of `tests.measuring`.
"""
