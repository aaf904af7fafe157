"""What pods and nodes use: /stats/summary and /metrics/resource."""
