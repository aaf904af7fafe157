"""The lifecycle and safety rules (DESIGN 4 and 5), once, for every backend.

    test_*.py     one rule a test, each with what it asks of a place (`needs.py`)
    world.py      what a test has: the tenant's user, lives of the agent, a place
    tenant.py     a real API server, as the tenant's users and controllers see it
    agent.py      one life of `vnode/` in this process; it can die at any write
    place.py      what tests may do below; `places/` has one of each kind
    needs.py      what a rule needs of a place, and which tests a place is exempt from

The tenant is a real cluster. Below is whatever the place is: memory, a real API server, processes.
"""
