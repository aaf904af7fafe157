"""PersistentVolumeClaims of the tenant whose data lies in compute clusters (`policy.pvc: shared`).

* `objects`      what is read of claims and volumes
* `placeholder`  the PersistentVolume that stands in the tenant for what lies below
* `binder`       makes and removes placeholders
* `check`        which claims pods on virtual nodes may mount

The data never moves: a claim of the same name in the compute namespace, made by the platform, is
what the pod's copy mounts.
"""
