import site_code
