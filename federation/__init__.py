"""Where pods run: configuration, backends and the agent process."""
