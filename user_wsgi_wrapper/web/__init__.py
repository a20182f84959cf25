"""The pages for tenants and the operator, and what the machine tells a monitoring system."""
