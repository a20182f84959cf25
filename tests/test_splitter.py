"""The splitter as a process: every line in its own key's log, whole, soon, and nowhere else."""

import collections
import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
import time

import psutil
import pytest

from tests.live import wait_for
from tests.splitting import Splitting, numbers


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "logs"


def stream(keys, count, text="{number} x"):
    return b"".join(f"{keys[n % len(keys)]}|{text.format(number=n)}\n".encode() for n in range(count))


KEYS = [f"site{n}.example.org" for n in range(50)]


def test_every_line_is_in_its_own_log_in_order(directory):
    with Splitting(directory) as splitting:
        splitting.write(stream(KEYS, 20_000))
        counters = splitting.end()
    for index, key in enumerate(KEYS):
        assert numbers(splitting.log(key)) == list(range(index, 20_000, 50))
    assert counters["written_lines"] == 20_000
    assert counters["dropped"] == {}
    assert sorted(path.name for path in directory.iterdir()) == sorted(KEYS)


def test_what_is_written_ahead_for_busy_keys_stays_in_order(directory):
    """Between two flushes a key with many lines is written for itself, one with few waits."""
    keys = [f"k{n}.com" for n in range(2_000)]
    text = "{number} " + "x" * 150
    with Splitting(directory, "--flush-interval", "20") as splitting:
        for start in range(0, 60_000, 4_000):
            lines = [f"busy.com|{text.format(number=n)}\n" for n in range(start, start + 4_000)]
            rare = f"{keys[start // 4_000]}|{text.format(number=start)}\n"
            splitting.write(("".join(lines) + rare).encode())
            splitting.write(stream(keys, 2_000, "0 x"))
        wait_for(lambda: splitting.report()["written_lines"] > 10_000, "busy.com is written ahead")
        counters = splitting.end()
    assert numbers(splitting.log("busy.com")) == list(range(60_000))
    assert numbers(splitting.log("k3.com")) == [0, 0, 0, 12_000, *[0] * 12]
    assert counters["written_lines"] == 60_000 + 15 + 15 * 2_000
    assert counters["writes"] < 2_100


@pytest.mark.parametrize(
    ("form", "line", "kept"),
    [
        ("pipe", b"One.Example.org|1.2.3.4 - x\n", b"1.2.3.4 - x\n"),
        ("vhost", b"one.example.org:443 1.2.3.4 - x\n", b"1.2.3.4 - x\n"),
        ("vhost", b"one.example.org 1.2.3.4 - x\n", b"1.2.3.4 - x\n"),
        ("json", b'{"host": "one.example.org", "n": 1}\n', b'{"host": "one.example.org", "n": 1}\n'),
    ],
)
def test_formats(directory, form, line, kept):
    with Splitting(directory, "--format", form) as splitting:
        splitting.write(line)
        splitting.end()
    assert splitting.log("one.example.org").read_bytes() == kept


def test_the_json_field_has_a_name(directory):
    with Splitting(directory, "--format", "json", "--field", "vhost") as splitting:
        splitting.write(b'{"vhost": "a.com", "host": "b.com"}')
        splitting.end()
    assert splitting.log("a.com").read_bytes() == b'{"vhost": "a.com", "host": "b.com"}\n'


def test_a_line_can_be_read_within_the_interval_also_at_a_trickle(directory):
    with Splitting(directory) as splitting:
        splitting.write(b"a.com|first\n")
        splitting.wait_until_read("a.com", b"first\n")
        took = []
        for number in range(20):
            began = time.monotonic()
            splitting.write(b"a.com|%d\n" % number)
            splitting.wait_until_read("a.com", b"%d\n" % number)
            took.append(time.monotonic() - began)
        # not a measurement: a machine that is busy may be late, but not as a rule
        assert sorted(took)[10] < 0.3
        splitting.end()


def test_half_a_line_waits_for_the_rest(directory):
    with Splitting(directory) as splitting:
        splitting.write(b"a.com|1 whole\na.com|2 ha")
        splitting.wait_until_read("a.com", b"1 whole\n")
        splitting.write(b"lf\n")
        splitting.wait_until_read("a.com", b"2 half\n")
        splitting.end()


def test_a_last_line_without_newline_is_kept(directory):
    with Splitting(directory) as splitting:
        splitting.write(b"a.com|1\na.com|2")
        counters = splitting.end()
    assert splitting.log("a.com").read_bytes() == b"1\n2\n"
    assert counters["written_lines"] == 2


def test_term_writes_what_was_read_and_what_is_in_the_pipe(directory):
    with Splitting(directory) as splitting:
        splitting.write(b"a.com|0\n")
        splitting.wait_until_read("a.com", b"0\n")
        splitting.signal(signal.SIGSTOP)
        for number in range(1, 1001):
            splitting.write(b"a.com|%d\n" % number)
        splitting.signal(signal.SIGTERM)
        splitting.signal(signal.SIGCONT)
        assert splitting.process.wait(30) == 0
    assert numbers(splitting.log("a.com")) == list(range(1001))


# -- keys


HOSTILE = [
    b"", b".", b"..", b"../../etc/passwd", b"/etc/passwd", b"a/b", b"a\0b", b"\xff\xfe", b"-", b"_unknown", b"*",
    b"x" * 300, b"1.2.3.4", b"[::1]", b"a b", b"\x1b[2J", b"a.com\\", b"%00", b"a..b", b".hidden", b"a.com/../b.com",
]  # fmt: skip


def test_hostile_keys_go_to_the_catch_all_and_nothing_is_made_outside(directory):
    with Splitting(directory) as splitting:
        for key in HOSTILE:
            splitting.write(key + b"|line\n")
        splitting.write(b"UPPER.example.org|line\n")
        counters = splitting.end()
    assert {path.name for path in directory.iterdir()} == {"_unknown.access.log", "upper.example.org"}
    kept = splitting.catch_all.read_bytes().splitlines()
    assert len(kept) == counters["unknown_lines"] == len(HOSTILE)
    assert b"../../etc/passwd|line" in kept
    assert b"\\x1b[2J|line" in kept
    assert {path.name for path in directory.parent.iterdir()} == {"logs", "logs.errors"}


def test_a_key_too_long_for_a_file_name_goes_to_the_catch_all(directory):
    key = ".".join(["a" * 49] * 5) + ".com"  # a lawful domain; with .access.log it is no name
    with Splitting(directory) as splitting:
        splitting.write(key.encode() + b"|x\n")
        splitting.end()
    assert splitting.catch_all.read_bytes() == key.encode() + b"|x\n"


def test_only_known_keys_have_logs_and_the_file_is_read_again(directory, tmp_path):
    known = tmp_path / "known"
    known.write_text("a.com  # mine\n\n# none\nB.com\n")
    with Splitting(directory, "--known", str(known)) as splitting:
        splitting.write(b"a.com|1\nb.com|1\nc.com|1\n")
        splitting.wait_until_read("b.com", b"1\n")
        wait_for(splitting.catch_all.exists, "the catch-all")
        assert splitting.catch_all.read_bytes() == b"c.com|1\n"
        known.write_text("a.com\nc.com\n")

        def arrives():
            splitting.write(b"b.com|2\nc.com|2\n")
            time.sleep(0.2)
            return splitting.log("c.com").exists()

        wait_for(arrives, "c.com is known")
        known.write_text("a.com\n..\n")  # broken: the last good state stays
        wait_for(lambda: "is no domain" in splitting.said(), "the broken file is told of")
        splitting.write(b"c.com|3\n")
        splitting.wait_until_read("c.com", b"3\n")
        counters = splitting.end()
    assert "b.com|2" in splitting.catch_all.read_text()
    assert counters["dropped"] == {}


def test_a_thousand_made_up_hosts_are_one_file(directory, tmp_path):
    known = tmp_path / "known"
    known.write_text("a.com\n")
    with Splitting(directory, "--known", str(known)) as splitting:
        splitting.write(stream([f"made-up-{n}.org" for n in range(1000)], 5000))
        counters = splitting.end()
    assert [path.name for path in directory.iterdir()] == ["_unknown.access.log"]
    assert counters["unknown_lines"] == 5000


def test_where_folders_are_required_a_missing_one_sends_lines_to_the_catch_all(directory):
    with Splitting(directory, folders="required") as splitting:
        (directory / "a.com").mkdir()
        splitting.write(b"a.com|1\nb.com|1\nb.com|2\n")
        counters = splitting.end()
    assert splitting.log("a.com").read_bytes() == b"1\n"
    assert splitting.catch_all.read_bytes() == b"b.com|1\nb.com|2\n"
    assert counters["unknown_lines"] == 2


# -- modes and owners


def test_mode_and_owner_are_as_asked_whatever_the_umask(directory):
    mask = os.umask(0o077)
    try:
        splitting = Splitting(directory, "--mode", "664", "--folder-mode", "751", "--owner", "1234:2345")
    finally:
        os.umask(mask)
    with splitting:
        splitting.write(b"a.com|1\n")
        splitting.end()
    for path, mode in ((splitting.log("a.com"), 0o664), (splitting.log("a.com").parent, 0o751)):
        info = path.stat()
        assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (mode, 1234, 2345)


def test_a_log_can_have_its_folders_owner(directory):
    directory.mkdir()
    (directory / "a.com").mkdir()
    os.chown(directory / "a.com", 1234, 2345)
    with Splitting(directory, "--owner", "folder") as splitting:
        splitting.write(b"a.com|1\n")
        splitting.end()
    info = splitting.log("a.com").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o640, 1234, 2345)


def test_a_log_that_is_there_keeps_mode_and_owner(directory):
    (directory / "a.com").mkdir(parents=True)
    log = directory / "a.com/a.com.access.log"
    log.write_bytes(b"0\n")
    log.chmod(0o604)
    os.chown(log, 1234, 2345)
    with Splitting(directory, "--owner", "1:1", "--mode", "600") as splitting:
        splitting.write(b"a.com|1\n")
        splitting.end()
    info = log.stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o604, 1234, 2345)
    assert log.read_bytes() == b"0\n1\n"


# -- what a tenant may plant


def plant_symlink(path, outside):
    outside.write_bytes(b"")
    path.symlink_to(outside)


def plant_dangling(path, outside):
    path.symlink_to(outside)


def plant_fifo(path, _):
    os.mkfifo(path)


def plant_read_fifo(path, _):
    os.mkfifo(path)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def plant_directory(path, _):
    path.mkdir()


def plant_device(path, _):
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # /dev/null


def plant_socket(path, _):
    import socket

    with socket.socket(socket.AF_UNIX) as made:
        here = os.getcwd()
        os.chdir(path.parent)
        try:
            made.bind(path.name)
        finally:
            os.chdir(here)


def plant_hard_link(path, outside):
    outside.write_bytes(b"")
    os.link(outside, path)


PLANTS = [
    plant_symlink, plant_dangling, plant_fifo, plant_read_fifo, plant_directory, plant_device, plant_socket,
    plant_hard_link,
]  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_nothing_is_written_through_what_is_planted_and_nobody_is_delayed(directory, tmp_path, plant):
    (directory / "evil.com").mkdir(parents=True)
    outside = tmp_path / "outside"
    held = plant(directory / "evil.com/evil.com.access.log", outside)
    with Splitting(directory) as splitting:
        splitting.write(b"evil.com|1\ngood.com|1\nevil.com|2\n")
        splitting.wait_until_read("good.com", b"1\n", patience=10)
        counters = splitting.end()
    assert counters["dropped"] == {"refused": 2}
    assert counters["stalls"] == 0
    assert "log of evil.com: something else lies in its place" in splitting.said()
    assert not outside.exists() or outside.read_bytes() == b""
    if held is not None:
        assert os.read(held, 100) == b""
        os.close(held)


def test_a_folder_that_is_a_link_is_refused(directory, tmp_path):
    directory.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (directory / "evil.com").symlink_to(tmp_path / "elsewhere")
    with Splitting(directory) as splitting:
        splitting.write(b"evil.com|1\n")
        counters = splitting.end()
    assert counters["dropped"] == {"refused": 1}
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_is_planted_while_the_log_is_open_is_found_soon(directory, tmp_path):
    with Splitting(directory) as splitting:
        splitting.write(b"evil.com|1\n")
        splitting.wait_until_read("evil.com", b"1\n")
        log = splitting.log("evil.com")
        log.rename(log.with_name("kept"))
        plant_symlink(log, tmp_path / "outside")

        def refused():
            splitting.write(b"evil.com|2\n")
            time.sleep(0.1)
            return splitting.report()["dropped"].get("refused")

        wait_for(refused, "the link is found")
        assert (tmp_path / "outside").read_bytes() == b""
        log.unlink()
        splitting.write(b"evil.com|back\n")
        splitting.wait_until_read("evil.com", b"back\n")
        splitting.end()


def test_a_lease_on_a_log_delays_nobody(directory):
    """A tenant may take a lease on a file of his (fcntl(2)): opening it would wait 45 s for him."""
    (directory / "evil.com").mkdir(parents=True)
    log = directory / "evil.com/evil.com.access.log"
    log.touch()
    held = os.open(log, os.O_RDONLY)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        with Splitting(directory) as splitting:
            splitting.write(b"evil.com|1\ngood.com|1\n")
            splitting.wait_until_read("good.com", b"1\n", patience=10)
            counters = splitting.end()
    finally:
        os.close(held)
        signal.signal(signal.SIGIO, before)
    assert counters["dropped"] == {"failed": 1}


# -- bounds


def test_few_descriptors_for_many_keys_lose_nothing(directory):
    keys = [f"k{n}.com" for n in range(600)]
    with Splitting(directory, "--max-open", "16", "--name", "{key}.log") as splitting:
        splitting.write(stream(keys[:1], 1))
        wait_for((directory / "k0.com.log").exists, "it runs")
        free = len(list(os.scandir(f"/proc/{splitting.process.pid}/fd")))
        for _ in range(5):
            splitting.write(stream(keys, 6000))
            assert len(list(os.scandir(f"/proc/{splitting.process.pid}/fd"))) <= free + 16
        counters = splitting.end()
    assert counters["written_lines"] == 30_001
    assert counters["evicted"] > 500
    assert sum(len(path.read_bytes().splitlines()) for path in directory.glob("*.log")) == 30_001


def test_more_open_files_than_the_system_allows_is_wrong_usage(directory):
    directory.mkdir()
    command = [sys.executable, "-m", "log_splitter", "--directory", str(directory), "--max-open", "500"]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
    )
    assert done.returncode == 2
    assert done.stderr.startswith("log-splitter: max-open 500: the limit of open files (ulimit -Hn) is 256")


def test_a_flood_of_short_hostile_lines_takes_bounded_memory(directory):
    """Lines of a few bytes, every one a key of its own, cost many times their size while they are held."""
    with Splitting(directory, "--memory", "16", "--flush-interval", "10") as splitting:
        for start in range(0, 600_000, 100_000):
            splitting.write(b"".join(b"%x\n" % n for n in range(start, start + 100_000)))
        peak = psutil.Process(splitting.process.pid).memory_info().rss
        assert peak < 120 << 20
        counters = splitting.end()
    assert counters["unknown_lines"] == 600_000
    lines = splitting.catch_all.read_bytes().splitlines()
    assert collections.Counter(map(len, lines)) == collections.Counter(len(b"%x" % n) for n in range(600_000))


# -- failures


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_costs_its_own_tenants_lines_alone_and_leaves_whole_lines(directory, small_disk):
    (directory / "full.com").mkdir(parents=True)
    subprocess.run(["mount", "--bind", small_disk, directory / "full.com"], check=True)
    try:
        with Splitting(directory) as splitting:
            splitting.write(stream(["full.com", "good.com"], 20_000, "{number} " + "x" * 100))
            wait_for(lambda: len(numbers(splitting.log("good.com"))) == 10_000, "good.com has its lines")
            dropped = wait_for(lambda: splitting.report()["dropped"].get("full"), "full.com has no room")
            kept = numbers(splitting.log("full.com"))
            assert kept == [2 * n for n in range(len(kept))]
            assert splitting.log("full.com").read_bytes().endswith(b"x\n")
            assert len(kept) + dropped == 10_000
            os.truncate(splitting.log("full.com"), 0)
            splitting.write(b"full.com|1 back\n")
            splitting.wait_until_read("full.com", b"1 back\n")
            counters = splitting.end()
        assert "log of full.com: full" in splitting.said()
        assert counters["written_lines"] + counters["dropped"]["full"] == 20_001
    finally:
        subprocess.run(["umount", "-l", directory / "full.com"], check=True)


def test_lines_in_a_deleted_log_are_counted_and_the_next_ones_kept(directory):
    with Splitting(directory) as splitting:
        splitting.write(b"a.com|1\n")
        splitting.wait_until_read("a.com", b"1\n")
        splitting.log("a.com").unlink()
        written = 1

        def back():
            nonlocal written
            splitting.write(b"a.com|2\n")
            written += 1
            time.sleep(0.1)
            return splitting.log("a.com").exists()

        wait_for(back, "the log is made again")
        counters = splitting.end()
    assert len(numbers(splitting.log("a.com"))) + counters["dropped"]["unlinked"] == written


def test_a_removed_folder_costs_its_own_lines_and_is_made_again(directory):
    with Splitting(directory) as splitting:
        splitting.write(b"a.com|1\nb.com|1\n")
        splitting.wait_until_read("a.com", b"1\n")
        splitting.log("a.com").unlink()
        splitting.log("a.com").parent.rmdir()
        splitting.signal(signal.SIGHUP)
        splitting.write(b"a.com|2\nb.com|2\n")
        splitting.wait_until_read("a.com", b"2\n")
        splitting.end()
    assert numbers(splitting.log("b.com")) == [1, 2]


def test_a_closed_standard_error_is_no_reason_to_stop(directory):
    directory.mkdir()
    command = [sys.executable, "-m", "log_splitter", "--directory", str(directory), "--folders", "make"]
    done = subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *command], input=b"a.com|1\n../|2\n")
    assert done.returncode == 0
    assert (directory / "a.com/a.com.access.log").read_bytes() == b"1\n"


# -- usage


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--name", "x.log"], "name 'x.log': {key} must stand in it"),
        (["--name", "../{key}"], "name '../{key}': a path below the folder is needed"),
        (["--name", "/{key}"], "a path below the folder is needed"),
        (["--name", "{key}/{0}"], "braces may only stand in {key}"),
        (["--name", "{key}.log", "--catch-all", "unknown.log"], "an underscore is needed in it"),
        (["--catch-all", "../x_"], "a path below the folder is needed"),
        (["--max-open", "0"], "'0': a number from 1 to"),
        (["--flush-interval", "0"], "'0': seconds from 0.01 to 60 are needed"),
        (["--mode", "888"], "'888': three octal digits are needed"),
        (["--owner", "nobody-of-that-name"], "no such user on this machine"),
        (["--owner", "root:"], "USER or USER:GROUP is needed"),
        (["--listen", "udp:x"], "unix:PATH is needed"),
        (["--listen", "unix:" + "x" * 108], "at most 107 bytes"),
        (["--listen", "unix:x", "--follow", "y"], "not allowed with"),
        (["--format", "xml"], "invalid choice: 'xml'"),
        (["stray"], "unrecognized arguments: stray"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(directory, options, said):
    directory.mkdir()
    done = run_shortly(directory, *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("missing", ["directory", "known"])
def test_what_is_missing_is_named_and_status_1(directory, missing):
    if missing == "known":
        directory.mkdir()
    done = run_shortly(directory, *(["--known", "/nowhere/known"] if missing == "known" else []))
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr
    assert done.stderr.count("\n") == 1


def run_shortly(directory, *options):
    command = [sys.executable, "-m", "log_splitter", "--directory", str(directory), *options]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
