"""Attacks, run against the real stack as a tenant's own code would: each must fail."""
