"""Telling the Emperor to look: uWSGI makes its fifo anew after each command, so there may be none just now."""

import os
import threading
import time

import pytest

from user_wsgi_wrapper.emperor_hook import emperor
from user_wsgi_wrapper.layout import Layout


@pytest.fixture
def layout(tmp_path):
    found = Layout(tmp_path)
    found.run_dir.mkdir(parents=True)
    return found


def test_a_command_reaches_a_fifo_that_comes_a_little_later(layout):
    read = []

    def serve():
        time.sleep(0.1)
        os.mkfifo(layout.emperor_fifo)
        time.sleep(0.1)
        with open(layout.emperor_fifo, "rb") as fifo:
            read.append(fifo.read())

    server = threading.Thread(target=serve)
    server.start()
    emperor.kick(layout, patience=20.0)
    server.join(20)
    assert read == [b"E"]


@pytest.mark.parametrize("make", [lambda path: None, os.mkfifo])
def test_an_emperor_that_is_not_there_is_told(layout, make):
    make(layout.emperor_fifo)
    began = time.monotonic()
    with pytest.raises(emperor.EmperorDownError, match="no Emperor reads"):
        emperor.kick(layout, patience=0.1)
    assert time.monotonic() - began < 5
