"""Long faults, measured: `python -m tests.reliability outage|absent|delete-node|grace|takeover`.

What flows where: `site` starts clusters, agents and a load of pods; `outage`, `absent`,
`delete_node`, `grace`, `takeover` and `upgrade` break one thing each, look meanwhile and afterwards
and return a `tests.measuring.report.Report`; `evidence` says what became of pods, from the audit
logs of both API servers and from what a watch brought.
"""
