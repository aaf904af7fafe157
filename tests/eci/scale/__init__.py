"""A thousand container groups at once, at the documented limits: `python -m tests.eci scale`.

What flows where: `site` starts a tenant, the emulator as a process and an agent; `rounds` lets pods
come, run, end and go, and kills the agent; `seen` keeps every version of every pod and event as the
tenant's watches bring them; `verdict` (pure) compares that with the emulator's own journal.
`broken` takes a rule out of the agent, to see that this is found.
"""
