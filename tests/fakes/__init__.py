"""Stand-ins for faults and speed. What an API server really does is tested on real ones."""
