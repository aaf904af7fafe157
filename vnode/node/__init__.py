"""Registers Node objects, keeps them alive and publishes capacity."""
