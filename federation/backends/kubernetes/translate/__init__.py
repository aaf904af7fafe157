"""Tenant pod to compute pod, purely: no I/O, no clock."""
