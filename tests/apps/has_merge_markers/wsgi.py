import os

<<<<<<< HEAD
name = 'a'
=======
name = 'b'
>>>>>>> theirs

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
