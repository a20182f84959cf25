"""What a dead worker left, read and told: pure, from the box's bytes, faulthandler's text and the server's log."""

import struct

import pytest

from user_wsgi_wrapper.runtime import black_box
from user_wsgi_wrapper.runtime.black_box import LOADING, SERVING, open_box
from user_wsgi_wrapper.runtime.post_mortem import Dump, examine, how_it_ended
from user_wsgi_wrapper.runtime.server_memory import choose, parse_packet, shared_regions

LIMITS = {"harakiri": 300, "worker-reload-mercy": 20, "load": 300}
FAULT = """\
Fatal Python error: Segmentation fault

Thread 0x00007f0000000002 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait
  File "/var/www/wsgi.py", line 3 in waits

Current thread 0x00007f0000000001 (most recent call first):
  File "/var/www/wsgi.py", line 9 in crashes
  File "{ours}/runtime/capture.py", line 140 in respond

Extension modules: _ctypes (total: 1)
"""
FIRST, SECOND = 0x7F0000000001, 0x7F0000000002


@pytest.fixture
def box(tmp_path):
    """A box of a worker that has loaded its file."""
    made = open_box(str(tmp_path), "box")
    made.begin_load((1, 2, 3), 0)
    made.end_load()
    return made


def remains(box, tmp_path):
    return open_box(str(tmp_path), "box").remains


def fault():
    return FAULT.format(ours=black_box.__file__.removesuffix("/runtime/black_box.py"))


def ending(left, log="", parent=None, kills=0):
    return how_it_ended(left, log, left.parent if parent is None else parent, kills, LIMITS)


# -- the box


def test_a_new_box_has_no_remains(tmp_path):
    assert open_box(str(tmp_path), "box").remains is None


def test_a_box_tells_the_next_process_what_this_one_was_at(box, tmp_path):
    box.flags[0] = box.flags[200] = 1
    box.take_core(200, 77)
    box.write_dump("where it was")
    left = remains(box, tmp_path)
    assert (left.phase, left.in_flight, left.idents, left.dump) == (SERVING, (0, 200), (0, 77), "where it was")


def test_a_load_that_was_cut_off_is_told_with_its_file(tmp_path):
    open_box(str(tmp_path), "box").begin_load((1, 2, 3), 4)
    left = open_box(str(tmp_path), "box").remains
    assert (left.phase, left.file, left.deaths, left.was_out_of_time) == (LOADING, (1, 2, 3), 4, False)
    open_box(str(tmp_path), "box").out_of_time((1, 2, 3))
    assert open_box(str(tmp_path), "box").remains.was_out_of_time


def test_a_later_dump_takes_the_place_of_an_earlier_longer_one(box, tmp_path):
    box.write_dump("a long one " * 1000)
    box.write_dump("short")
    assert remains(box, tmp_path).dump == "short"
    box.clear_dump()
    assert remains(box, tmp_path).dump == ""


def test_a_dump_longer_than_its_place_is_cut(box, tmp_path):
    box.write_dump("é" * black_box.DUMP_SIZE)
    assert len(remains(box, tmp_path).dump) >= black_box.DUMP_SIZE // 2 - 4


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\xff" * black_box.SIZE, bytes(black_box.SIZE)])
def test_a_box_of_other_content_has_no_remains_and_is_used(tmp_path, content):
    (tmp_path / "box").write_bytes(content)
    made = open_box(str(tmp_path), "box")
    assert made.remains is None
    made.begin_load((0, 0, 0), 0)
    assert open_box(str(tmp_path), "box").remains.phase == LOADING


def test_a_descriptor_that_the_tenant_took_is_left_alone(box, tmp_path):
    import os

    victim = tmp_path / "victim"
    victim.write_text("untouched")
    fd = os.open(victim, os.O_RDWR)
    os.dup2(fd, box.fd)
    box.write_dump("not there")
    box.clear_dump()
    assert victim.read_text() == "untouched"


# -- how it ended


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "DAMN ! worker 1 (pid: {pid}) died, killed by signal 11 :( trying respawn ...",
            "killed by signal 11 (SIGSEGV)",
        ),
        ("DAMN ! worker 1 (pid: {pid}) died, killed by signal 40 :( trying respawn ...", "killed by signal 40"),
        ("DAMN ! worker 1 (pid: {pid}) MISTERIOUSLY killed by signal 6 :( trying", "killed by signal 6 (SIGABRT)"),
        ("DAMN ! worker 1 (pid: {pid}) died :( trying respawn ...", "it ended itself, by os._exit() or by exit()"),
        ("... monitored exception detected, respawning worker 1 (pid: {pid})...", "it ended itself"),
        ("*** HARAKIRI ON WORKER 1 (pid: {pid}, try: 1) ***\nkilled by signal 9", "it took longer than the 300 s"),
        ("*** HARAKIRI ON WORKER 1 (pid: {pid}, try: 1, graceful: no) ***", "it took longer than the 300 s"),
        ("worker 1 (pid: {pid}) is taking too much time to die...NO MERCY !!!", "it was still at it 20 s after"),
    ],
)
def test_the_server_s_log_says_how(box, tmp_path, log, said):
    box.flags[0] = 1
    left = remains(box, tmp_path)
    other = log.format(pid=left.pid + 1).replace("11", "4").replace("9", "4")
    found = ending(left, f"{other}\n{log.format(pid=left.pid)}")
    assert found.text.startswith(said)
    assert not found.is_meant


@pytest.mark.parametrize(
    ("timeout", "said"), [("0:04:59.500000", "it took longer than"), ("0:00:10", "it ended itself")]
)
def test_a_first_request_that_faulthandler_ended_took_too_long(box, tmp_path, timeout, said):
    """Told by the time it waited from the dumps that are made in case a look comes late."""
    box.flags[0] = 1
    box.write_dump(f"Timeout ({timeout})!\n" + fault())
    left = remains(box, tmp_path)
    assert ending(left, f"DAMN ! worker 1 (pid: {left.pid}) died :( trying respawn ...").text.startswith(said)


def test_a_kill_for_want_of_memory_is_told_from_other_kills(box, tmp_path):
    box.flags[0] = 1
    left = remains(box, tmp_path)
    log = f"worker 1 (pid: {left.pid}) died, killed by signal 9 :("
    assert ending(left, log, kills=left.oom_kills).text == "killed by signal 9 (SIGKILL)"
    assert ending(left, log, kills=left.oom_kills + 1).text.endswith(", as the kernel ran out of memory")


def test_what_the_server_itself_wanted_is_meant(box, tmp_path):
    left = remains(box, tmp_path)
    assert ending(left).is_meant
    assert ending(left, parent=1).is_meant
    assert ending(left, f"worker 1 (pid: {left.pid}) died, killed by signal 15 :(").is_meant
    assert not ending(left, f"worker 1 (pid: {left.pid}) died, killed by signal 9 :(").is_meant
    assert not ending(left, f"worker 1 (pid: {left.pid}) died :(").is_meant


# -- what is told


def test_each_request_in_flight_has_a_record_with_its_own_stack(box, tmp_path):
    box.flags[0] = box.flags[1] = 1
    box.take_core(0, FIRST)
    box.take_core(1, SECOND)
    box.write_dump(fault())
    left = remains(box, tmp_path)
    requests = {
        0: {"REQUEST_METHOD": "GET", "PATH_INFO": "/crashes", "HTTP_X_REQUEST_START": f"t={left.dumped_at - 2:.3f}"},
        1: {"REQUEST_METHOD": "POST", "SCRIPT_NAME": "/app", "PATH_INFO": "/waits"},
    }
    died = f"worker 1 (pid: {left.pid}) died, killed by signal 11 :("
    guilty, other = examine(left, ending(left, died), requests, "/var/www/wsgi.py", left.dumped_at + 9)
    assert guilty.message == (
        "GET /crashes: the worker died while it served this request, after 2.0 s: killed by signal 11 (SIGSEGV)"
    )
    assert guilty.trace.splitlines() == [
        "Fatal Python error: Segmentation fault",
        "Stack (most recent call first):",
        '  File "/var/www/wsgi.py", line 9 in crashes',
    ]
    assert other.message == (
        "POST /app/waits: the worker died while it served this request: killed by signal 11 (SIGSEGV); "
        "the fault was in another thread"
    )
    assert other.trace.splitlines()[-1] == '  File "/var/www/wsgi.py", line 3 in waits'
    assert guilty.environ is not requests[0]


def test_a_request_that_can_not_be_told_has_its_record_all_the_same(box, tmp_path):
    box.flags[0] = 1
    left = remains(box, tmp_path)
    [found] = examine(left, ending(left), {}, "/var/www/wsgi.py", 0)
    assert found.environ is None
    assert found.message.startswith("the worker died while it served this request: it ended itself")


@pytest.mark.parametrize("start", ["", "t=", "t=nonsense", "t=nan", "t=inf", "t=-1e400", "12"])
def test_a_start_that_makes_no_sense_is_left_out(box, tmp_path, start):
    box.flags[0] = 1
    left = remains(box, tmp_path)
    request = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_X_REQUEST_START": start}
    [found] = examine(left, ending(left), {0: request}, "/var/www/wsgi.py", 1_800_000_000.0)
    assert " s: " not in found.message.partition("ended itself")[0]


def test_of_several_dumps_the_last_counts():
    dump = Dump(
        "Timeout (0:00:01)!\n".join(
            [
                "",
                *(
                    f'Thread 0x00007f0000000001 (most recent call first):\n  File "/x.py", line {line} in f\n'
                    for line in (1, 2)
                ),
            ]
        )
    )
    assert dump.stack(FIRST) == 'Stack (most recent call first):\n  File "/x.py", line 2 in f'


def test_a_dump_without_a_fault_gives_no_reason():
    text = 'Timeout (0:00:10)!\nThread 0x00007f0000000001 (most recent call first):\n  File "/x.py", line 1 in f\n'
    dump = Dump(text)
    assert (dump.current, dump.stack(FIRST)) == (0, 'Stack (most recent call first):\n  File "/x.py", line 1 in f')
    assert (
        dump.stack(SECOND) == Dump("").stack(FIRST) == Dump("no dump at all").stack(0).replace("no dump at all", "")
    )


# -- what the server still holds

MAPS = """\
7f0000000000-7f0000009000 rw-s 00000000 00:01 {a}    /dev/zero (deleted)
7f0000010000-7f0000012000 rw-s 00000000 00:01 {b}    /dev/zero (deleted)
7f0000020000-7f0000021000 rw-p 00000000 00:00 0
7f0000030000-7f0000039000 r--p 00000000 08:01 99     /usr/lib/x.so
"""


def test_regions_are_those_shared_and_anonymous_in_the_order_of_their_making():
    assert shared_regions(MAPS.format(a=7, b=5)) == [(0x7F0000010000, 0x2000), (0x7F0000000000, 0x9000)]
    assert shared_regions("") == []


def groups(workers, *lengths):
    listed = [length for _ in range(workers + 1) for length in lengths]
    return [(number * 0x100000, length) for number, length in enumerate([36864, 4096, *listed, 40960])]


@pytest.mark.parametrize(
    ("cores", "lengths"), [(1, (65536, 4096, 4096, 36864, 8192)), (8, (4096, 4096, 266240, 36864))]
)
@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_s_packets_are_found_by_its_number(cores, lengths, workers):
    regions = groups(workers, *lengths)
    size = 32772 * cores
    found = [choose(regions, size, cores, worker, workers) for worker in range(workers + 1)]
    at = len(lengths) - 2
    assert found == [regions[2 + at + worker * len(lengths)][0] for worker in range(workers + 1)]


def test_where_it_is_not_certain_there_is_none():
    regions = groups(1, 65536, 4096, 36864, 8192)
    assert choose(regions, 32772, 1, 1, workers=2) is None
    assert choose([*regions, (0, 36864), (0, 8192)], 32772, 1, 1, workers=1) is None
    uneven = [*regions[:6], (0, 4096), *regions[6:], (0, 36864), (0, 8192)]
    assert choose(uneven, 32772, 1, 1, workers=2) is None
    assert choose([], 32772, 1, 1, workers=1) is None


def packet(**variables):
    return b"".join(
        struct.pack("<H", len(text)) + text.encode("latin-1") for pair in variables.items() for text in pair
    )


def test_a_packet_gives_what_a_record_shows_and_no_more():
    whole = packet(HTTP_COOKIE="secret", REQUEST_METHOD="GET", PATH_INFO="/é", REQUEST_ID="ab" * 16)
    assert parse_packet(whole) == {"REQUEST_METHOD": "GET", "PATH_INFO": "/é", "REQUEST_ID": "ab" * 16}


def test_what_an_earlier_longer_packet_left_behind_counts_less():
    left = packet(REQUEST_METHOD="POST", PATH_INFO="/old", SCRIPT_NAME="/old")
    assert parse_packet(packet(REQUEST_METHOD="GET", PATH_INFO="/new") + left)["PATH_INFO"] == "/new"


@pytest.mark.parametrize("rubbish", [b"", b"\0", b"\0\0\0\0", b"\xff" * 100, b"\x05\0abc"])
def test_rubbish_gives_nothing(rubbish):
    assert parse_packet(rubbish) == {}
