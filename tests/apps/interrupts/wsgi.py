def application(environ, start_response):
    raise KeyboardInterrupt
