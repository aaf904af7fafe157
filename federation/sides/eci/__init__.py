"""An account of Alibaba Cloud ECI as a compute side.

* `account`   the way to it: API, access key, budget, logins and profiles; commands open it, too
* `side`      `Compute` and `Side` of it
* `capacity`  what its virtual nodes offer
* `policy`    what its configuration means for pods
"""
