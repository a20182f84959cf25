"""What runs inside the tenant's interpreter: standard library only, so that the tenant's versions win."""
