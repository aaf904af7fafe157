"""Tenant pod to ECI container group. Pure: what is known and assumed stands in docs/eci.md."""
