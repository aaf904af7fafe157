"""What tenants see of a pod: statuses, what they are made of, and how they are written."""
