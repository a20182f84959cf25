raise SystemExit("the tenant's own module was taken")
