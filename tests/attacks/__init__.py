"""Attacks: what a hostile tenant and a hostile visitor try, each as a test that the defence makes fail for them."""
