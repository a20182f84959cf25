"""Attacks by tenants and visitors, run in the real stack: each must fail."""
