"""exec, attach, port-forward and /run."""
