"""The servers that bench/percentiles.py compares."""
