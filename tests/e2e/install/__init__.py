"""What people do who have clusters: install the agent by docs/install.md, run the demo and tests.

`page` is that page as commands; `stand_in_kind` a kind for machines without a container engine.
"""
