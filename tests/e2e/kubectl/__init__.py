"""kubectl through a virtual node: which kubectl, over which protocols, and what came of it.

`ways` says by which ways the tests of `tests/e2e/test_kubectl.py` go; `client` runs one kubectl;
`site` are the clusters of one way; `page` writes docs/kubectl.md from what a run said.
`python -m tests.e2e.kubectl` is such a run.
"""
