"""Who calls the kubelet API, and what they may do."""
