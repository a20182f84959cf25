def connect():
    raise LookupError("no database here")


connect()
