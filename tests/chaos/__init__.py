"""Everything that can go wrong at once, on real clusters, judged from what API servers wrote down.

    python -m tests.chaos --rounds 20 --seed 7

A round is: users work, faults happen (`plan`, drawn from the seed), faults end, everything settles
(`settle`), and what happened is judged (`judge`). What flows where:

    plan ---> work (users) ------> API servers <--- links (ours, in the agent's way) <--- agent
         `--> faults (who breaks what) --^-----------------^----------------------------------^
    etcd ---> history (every version of every object) --.
    audit logs -> audit (who asked for what) -----------+--> judge ---> report
    the agent's log ------------------------------------'

Nothing of the product is imported by the judge: it knows Kubernetes and our documented marks only.
"""
