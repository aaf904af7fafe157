"""The kubelet HTTPS API of virtual nodes."""
