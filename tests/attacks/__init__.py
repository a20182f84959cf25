"""What a hostile tenant and a hostile visitor try, each attack inside the real stack."""
