"""Claims whose data pods read through Fluid (DESIGN 10).

* `rules`     which volumes of a tenant may be copied; pure
* `names`     what the objects below are called; pure
* `build`     the objects below: claim, volume, Secret, Dataset, ThinRuntime, DataLoad; pure
* `objects`   Fluid's resources
"""
