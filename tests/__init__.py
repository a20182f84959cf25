"""The test suite: real servers, real chroots, real databases."""
