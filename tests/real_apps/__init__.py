"""Applications as tenants write them, each with what it needs from the package index."""
