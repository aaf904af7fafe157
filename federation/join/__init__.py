"""Joins a tenant to a compute cluster: what an administrator of that cluster runs once.

Data flow, one step a module:

    options or configuration -> plan   what is wanted, as one frozen value
    plan -> render                     the objects, from manifests/*.yaml (pure)
    objects -> apply                   looked at, tried by a dry run, then applied
    objects -> leftovers               what wider joins left there, and how it is removed
    account -> credential              a token, a kubeconfig, the Secret for the tenant

`manifests/` is the one place where rights, quotas and policies of compute clusters stand; every
right there says why. Nothing is applied before every object was looked at and tried, so what is
somebody else's is an error that changes nothing. Tokens are in the Secret and nowhere else.
"""
