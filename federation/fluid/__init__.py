"""Claims whose data pods read through Fluid (DESIGN 10).

* `rules`     which volumes of a tenant may be copied; pure
* `names`     what the objects below are called; pure
* `build`     the objects below: claim, volume, Secret, Dataset, ThinRuntime, DataLoad; pure
* `objects`   Fluid's resources
* `wishes`    what a claim needs, by its volume and what the platform allows
* `uses`      which pods use which claims
* `below`     what there is of ours, and how it is made and removed
* `copies`    claim, volume and Secret; `warm_up` the DataLoad
* `judged`    what there is to say of a claim to pods; pure
* `profiles`  what Fluid's own objects say of a client; pure
* `sidecar`   that client in a container group of ECI, where no webhook is; pure
* `mounts`    claims that ECI mounts itself; pure
* `groups`    what claims of a pod need in such a group
* `datasets`  the reconciler of claims that Fluid itself brings
"""
