"""Fuzzing: millions of inputs for the parsers that strangers reach."""
