"""How many threads are in a place at once."""

import threading


class Inside:
    """A context manager that any number of threads may enter; `most` is how many were in it at the same time."""

    def __init__(self):
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __enter__(self):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)

    def __exit__(self, *_exc_info):
        with self._lock:
            self._now -= 1
