import sqlite3


def application(environ, start_response):
    connection = sqlite3.connect("site.db")
    connection.execute("create table if not exists visits (number)")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
