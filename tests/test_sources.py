"""Where lines come from: pipes, nginx's datagrams, followed files through every kind of rotation and every kill."""

import json
import os
import random
import signal
import socket
import stat
import subprocess
import time

import pytest

from log_splitter import checkpoint
from log_splitter.checkpoint import Place
from log_splitter.errors import BadValueError
from log_splitter.follow import Followed
from tests.live import wait_for
from tests.splitting import Splitting, numbers

# -- datagrams

HEADER = b"<190>Nov 24 13:21:21 web1 nginx: "


@pytest.fixture
def listening(tmp_path):
    path = tmp_path / "socket"
    with Splitting(tmp_path / "logs", "--listen", f"unix:{path}", "--socket-mode", "620") as splitting:
        wait_for(path.exists, "the socket")
        wait_for(lambda: stat.S_IMODE(path.stat().st_mode) == 0o620, "its mode")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.connect(str(path))
            splitting.send = client.send
            splitting.socket_path = path
            yield splitting


def test_one_message_is_one_line_and_its_header_is_taken_off(listening):
    for header in (HEADER, b"<14>Jan  1 00:00:00 nginx: ", b"<0>Dec 31 23:59:59 h a-tag[12]: ", b""):
        listening.send(header + b"a.com|%d x\n" % len(header))
    listening.send(HEADER + b"a.com|9 two\nb.com|lines")
    listening.wait_until_read("a.com", rb"9 two\x0ab.com|lines" + b"\n")
    counters = listening.terminate()
    assert numbers(listening.log("a.com")) == [len(HEADER), 27, 32, 0, 9]
    assert counters["headerless_messages"] == 1
    assert not listening.socket_path.exists()


def test_messages_that_wait_at_the_end_are_read(listening):
    listening.signal(signal.SIGSTOP)
    for number in range(5):
        listening.send(HEADER + b"a.com|%d\n" % number)
    listening.signal(signal.SIGTERM)
    listening.signal(signal.SIGCONT)
    assert listening.process.wait(30) == 0
    assert numbers(listening.log("a.com")) == [0, 1, 2, 3, 4]


def test_a_large_message_is_whole(listening):
    listening.send(HEADER + b"a.com|1 " + b"x" * 100_000)
    listening.wait_until_read("a.com", b"x\n")
    assert listening.log("a.com").stat().st_size == 100_003


def test_a_dead_socket_is_replaced_and_a_living_one_isnt(tmp_path):
    path = tmp_path / "socket"
    with Splitting(tmp_path / "logs", "--listen", f"unix:{path}") as first:
        wait_for(path.exists, "the socket")
        with Splitting(tmp_path / "logs2", "--listen", f"unix:{path}") as second:
            assert second.process.wait(30) == 1
            assert "somebody reads from it already" in second.said()
        first.process.kill()
        first.process.wait()
    with Splitting(tmp_path / "logs3", "--listen", f"unix:{path}") as third:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:

            def connects():
                try:
                    client.connect(str(path))
                except (ConnectionRefusedError, FileNotFoundError):
                    return False
                return True

            wait_for(connects, "the socket is new")
            client.send(b"a.com|1")
        third.wait_until_read("a.com", b"1\n")


def test_a_file_in_the_sockets_place_is_left_alone(tmp_path):
    (tmp_path / "socket").write_text("precious")
    with Splitting(tmp_path / "logs", "--listen", f"unix:{tmp_path}/socket") as splitting:
        assert splitting.process.wait(30) == 1
    assert (tmp_path / "socket").read_text() == "precious"
    assert "no socket" in splitting.said()


# -- followed files


class Written:
    """A log that a server writes to: numbered lines for a.com and b.com."""

    def __init__(self, path):
        self.path = path
        self.count = 0
        self.file = path.open("ab")

    def write(self, lines=1):
        texts = [
            b"%s|%d of a line\n" % ((b"a.com", b"b.com")[n % 2], n) for n in range(self.count, self.count + lines)
        ]
        os.write(self.file.fileno(), b"".join(texts))
        self.count += lines

    def reopen(self):
        self.file.close()
        self.file = self.path.open("ab")


@pytest.fixture
def written(tmp_path):
    made = Written(tmp_path / "access.log")
    yield made
    made.file.close()


def following(tmp_path, *options):
    return Splitting(tmp_path / "logs", "--follow", str(tmp_path / "access.log"), *options)


def all_read(splitting):
    return sorted(numbers(splitting.log("a.com"), splitting.log("b.com")))


def wait_for_all(splitting, written):
    wait_for(lambda: len(all_read(splitting)) >= written.count, f"{written.count} lines")
    assert all_read(splitting) == list(range(written.count))


def test_what_is_there_and_what_is_added_is_read_and_goes_on_after_a_restart(tmp_path, written):
    written.write(1000)
    for _ in range(3):
        with following(tmp_path) as splitting:
            wait_for_all(splitting, written)
            written.write(1001)
            wait_for_all(splitting, written)
            counters = splitting.terminate()
            assert counters["bytes_behind"] == 0
        written.write(500)
    with following(tmp_path) as splitting:
        wait_for_all(splitting, written)
        splitting.terminate()
    saved = tmp_path / "access.log.checkpoint"
    assert json.loads(saved.read_text())["offset"] == written.path.stat().st_size
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600


def test_term_in_the_middle_of_everything_loses_nothing_and_doubles_nothing(tmp_path, written):
    written.write(150_000)
    rounds = 0
    while True:
        with following(tmp_path) as splitting:
            time.sleep(0.25 + random.random() * 0.2)
            written.write(10)
            os.write(written.file.fileno(), b"a.com|%d of" % written.count)
            splitting.terminate()
            os.write(written.file.fileno(), b" a line\n")
            written.count += 1
        rounds += 1
        if len(all_read(splitting)) >= 150_000 or rounds > 60:
            break
    with following(tmp_path) as splitting:
        wait_for_all(splitting, written)
        splitting.terminate()


def test_kill_loses_nothing_and_doubles_at_most_what_was_read_in_one_interval(tmp_path, written):
    for _ in range(6):
        with following(tmp_path) as splitting:
            deadline = time.monotonic() + 0.3 + random.random() * 0.3
            while time.monotonic() < deadline:
                written.write(20)
                time.sleep(0.01)
            splitting.process.kill()
            splitting.process.wait()
    with following(tmp_path) as splitting:
        wait_for(lambda: set(all_read(splitting)) == set(range(written.count)), "every line at least once")
        splitting.terminate()
    assert len(all_read(splitting)) - written.count < 6 * 2000


@pytest.mark.parametrize("how", ["create", "copytruncate", "rename"])
def test_rotation_of_what_is_followed_loses_nothing_and_doubles_nothing(tmp_path, written, how):
    with following(tmp_path) as splitting:
        written.write(1)
        wait_for_all(splitting, written)  # it runs
        for _ in range(3):
            written.write(500)
            rotate(tmp_path, written, how)
            written.write(500)
            if how == "create":
                written.write(10)  # to the old file: not every worker has opened the new one
                written.reopen()
            written.write(500)
            wait_for_all(splitting, written)
        splitting.terminate()


@pytest.mark.parametrize("how", ["create", "copytruncate", "rename"])
@pytest.mark.parametrize("times", [1, 3])
def test_rotation_while_it_is_down_loses_nothing_and_doubles_nothing(tmp_path, written, how, times):
    written.write(1000)
    with following(tmp_path) as splitting:
        wait_for_all(splitting, written)
        splitting.terminate()
    for _ in range(times):
        written.write(300)
        time.sleep(0.02)  # the order of files is that of their times
        rotate(tmp_path, written, how)
        written.reopen()
        written.write(300)
    with following(tmp_path) as splitting:
        wait_for_all(splitting, written)
        splitting.terminate()
    with following(tmp_path) as splitting:
        time.sleep(0.3)
        splitting.terminate()
    assert all_read(splitting) == list(range(written.count))


def rotate(tmp_path, written, how):
    if how == "rename":
        older = tmp_path / "access.log.1"
        if older.exists():
            if (tmp_path / "access.log.2").exists():
                (tmp_path / "access.log.2").rename(tmp_path / "access.log.3")
            older.rename(tmp_path / "access.log.2")
        written.path.rename(older)
        written.reopen()
        return
    options = {"create": "create", "copytruncate": "copytruncate"}[how]
    logrotate(tmp_path, f"{written.path} {{\n rotate 9\n {options}\n}}\n")


def logrotate(tmp_path, text):
    """The real logrotate, made to rotate."""
    (tmp_path / "logrotate.conf").write_text(text)
    (tmp_path / "logrotate.conf").chmod(0o644)
    tmp_path.chmod(0o755)
    command = ["/usr/sbin/logrotate", "--force", "--state", tmp_path / "state", tmp_path / "logrotate.conf"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_half_a_line_at_the_end_of_a_rotated_file_ends_there(tmp_path, written):
    with following(tmp_path) as splitting:
        written.write(1)
        wait_for_all(splitting, written)
        os.write(written.file.fileno(), b"a.com|0 cut off")
        rotate(tmp_path, written, "rename")
        os.write(written.file.fileno(), b"a.com|1 new\n")
        splitting.wait_until_read("a.com", b"0 cut off\n1 new\n")
        splitting.terminate()


def rotated_under_a_writer(tmp_path, written, splitting):
    """Ten lines, a rotation, ten lines in the new file, all dealt out; the descriptor of who keeps the old one."""
    written.write(10)
    wait_for_all(splitting, written)
    old = os.dup(written.file.fileno())
    rotate(tmp_path, written, "rename")
    written.write(10)
    wait_for_all(splitting, written)
    return old


def test_lines_that_an_old_worker_writes_late_are_read(tmp_path, written):
    """Apache's graceful restart: processes go on writing to the renamed file."""
    with following(tmp_path) as splitting:
        old = rotated_under_a_writer(tmp_path, written, splitting)
        os.write(old, b"a.com|20 late\n")
        written.count += 1
        wait_for_all(splitting, written)
        splitting.terminate()
        os.close(old)


def test_lines_that_an_old_worker_writes_while_it_is_down_are_read(tmp_path, written):
    """Rotated while it ran, written to while it didn't, rotated once more: each line once."""
    with following(tmp_path) as splitting:
        old = rotated_under_a_writer(tmp_path, written, splitting)
        splitting.terminate()
    os.write(old, b"a.com|20 late\nb.com|21 half")
    written.count += 1
    with following(tmp_path) as splitting:
        wait_for_all(splitting, written)
        os.write(old, b" a line\n")
        written.count += 1
        wait_for_all(splitting, written)
        written.write(10)
        wait_for_all(splitting, written)
        splitting.terminate()
    rotate(tmp_path, written, "rename")
    time.sleep(0.02)  # later than the last line of the file after it
    os.write(old, b"a.com|%d later\n" % written.count)
    written.count += 1
    written.write(10)
    with following(tmp_path) as splitting:
        wait_for_all(splitting, written)
        splitting.terminate()
    os.close(old)


def test_an_old_workers_line_doesnt_have_its_whole_file_read_again(tmp_path, written):
    """By its time the file looks newer than the one after it, when that is rotated too."""
    with following(tmp_path) as splitting:
        old = rotated_under_a_writer(tmp_path, written, splitting)
        rotate(tmp_path, written, "rename")
        time.sleep(0.02)
        os.write(old, b"a.com|20 late\n")
        written.count += 1
        written.write(10)
        wait_for_all(splitting, written)
        splitting.terminate()
    os.close(old)


def test_a_file_that_isnt_there_yet_is_waited_for(tmp_path):
    with following(tmp_path) as splitting:
        time.sleep(0.2)
        (tmp_path / "access.log").write_bytes(b"a.com|1\n")
        splitting.wait_until_read("a.com", b"1\n")
        splitting.terminate()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"device": 1}', '{"device":1,"inode":1,"head":"zz","offset":1}',
                                  '{"device":1,"inode":1,"head":"","offset":-1}',
                                  '{"device":1,"inode":1,"head":"","offset":1,"late":1}',
                                  '{"device":1,"inode":1,"head":"","offset":1,'
                                  '"late":{"device":1,"inode":1,"head":"","offset":-1}}'])  # fmt: skip
def test_a_broken_checkpoint_is_told_and_nothing_is_read(tmp_path, text):
    (tmp_path / "access.log").write_bytes(b"a.com|1\n")
    (tmp_path / "access.log.checkpoint").write_text(text)
    with following(tmp_path) as splitting:
        assert splitting.process.wait(30) == 2
    assert f"checkpoint {tmp_path}/access.log.checkpoint" in splitting.said()
    assert (tmp_path / "access.log.checkpoint").read_text() == text
    assert not splitting.log("a.com").exists()


def test_a_checkpoint_whose_file_is_gone_is_told(tmp_path, written):
    written.write(2)
    checkpoint.save(tmp_path / "access.log.checkpoint", Place(1, 1, b"other", 5))
    with following(tmp_path) as splitting:
        wait_for_all(splitting, written)
        splitting.terminate()
    assert "the file of the checkpoint is gone" in splitting.said()


def test_an_inode_that_was_used_again_is_no_reason_to_skip_lines(tmp_path, written):
    written.write(100)
    info = written.path.stat()
    place = Place(info.st_dev, info.st_ino, b"c.com|another file", 50)
    checkpoint.save(tmp_path / "access.log.checkpoint", place)
    with following(tmp_path) as splitting:
        wait_for_all(splitting, written)
        splitting.terminate()


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, Place(1, 2, b"\xff\0", 3))
    place = checkpoint.load(path)
    assert (place.device, place.inode, place.head, place.offset) == (1, 2, b"\xff\0", 3)
    (tmp_path / "checkpoint.tmp").symlink_to(tmp_path / "elsewhere")
    checkpoint.save(path, Place(1, 2, b"", 4))
    assert checkpoint.load(path).offset == 4
    assert not (tmp_path / "elsewhere").exists()
    path.write_text("x")
    with pytest.raises(BadValueError, match="is none"):
        checkpoint.load(path)


def test_a_file_truncated_and_grown_again_between_two_looks_is_read_from_its_start(tmp_path):
    """Only its first bytes tell."""
    path = tmp_path / "access.log"
    path.write_bytes(b"old %d\n" % 1 * 10)
    wake, ring = os.pipe()
    followed = Followed(path, tmp_path / "checkpoint", print)
    try:
        assert followed.read(0.0, wake) == b"old 1\n" * 10
        path.write_bytes(b"new 2\n" * 50)
        found = b""
        while not found.endswith(b"new 2\n"):
            found += followed.read(0.0, wake)
        assert found == b"new 2\n" * 50
    finally:
        followed.close()
        os.close(wake)
        os.close(ring)


# -- rotation of what is written


@pytest.mark.parametrize("how", ["create, hup", "create", "copytruncate, pause", "nocreate, hup", "rename"])
def test_rotation_of_what_is_written_loses_no_line(tmp_path, how):
    directory = tmp_path / "logs"
    with Splitting(directory) as splitting:
        pid = splitting.process.pid
        scripts = f"postrotate\n kill -HUP {pid}\n endscript\n"
        if "pause" in how:
            scripts += f"prerotate\n kill -USR2 {pid}\n sleep 0.3\n endscript\n"
        option = how.partition(",")[0]
        text = f"{directory}/*/*.access.log {{\n rotate 9\n sharedscripts\n {option}\n"
        text += (scripts if "," in how else "") + "}\n"
        count = 0
        for _ in range(3):
            for _ in range(50):
                splitting.write(b"".join(b"k%d.com|%d\n" % (n % 3, n) for n in range(count, count + 60)))
                count += 60
                time.sleep(0.002)
            wait_for(splitting.log("k2.com").exists, "it is there")
            if how == "rename":
                for number in range(3):
                    log = splitting.log(f"k{number}.com")
                    log.rename(log.with_name(f"{log.name}.{count}"))
                time.sleep(1.1)  # without a signal, a log is looked at once a second
            else:
                logrotate(tmp_path, text)
        splitting.write(b"k0.com|%d\nk1.com|%d\nk2.com|%d\n" % (count, count + 1, count + 2))
        counters = splitting.end()
    assert counters["written_lines"] == count + 3
    assert counters["dropped"] == {}
    assert sorted(numbers(*directory.glob("*/*.log*"))) == list(range(count + 3))
    assert len(list(directory.glob("*/*.log.*"))) == 9
