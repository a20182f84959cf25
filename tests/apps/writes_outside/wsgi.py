def application(environ, start_response):
    with open("/etc/visits.txt", "a") as file:
        file.write("visit\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
