"""Alibaba Cloud Elastic Container Instance (ECI) by its OpenAPI, as a place where pods run.

What is known and unknown about the real service: docs/eci.md.
"""
