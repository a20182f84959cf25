def read():
    with open("hello.txt") as file:
        return file.read()
