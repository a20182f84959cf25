"""One stream of access lines in, every domain's own file out."""
