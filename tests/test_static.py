"""Static files: found only below their folder, answered as RFC 9110 says, sent whole."""

import contextlib
import gzip
import http.client
import io
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from email.utils import formatdate
from pathlib import Path
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from user_wsgi_wrapper.runtime import beneath, http_file, static

ROOT = Path(static.__file__).parents[2]


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __getitem__(self, name):
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) < 2, f"{name} twice"
        return values[0] if values else None


def ask(files, path, method="GET", wrapper=FileWrapper, **headers):
    """The answer to one request under wsgiref's validator, or None if it went on to the application."""
    environ = {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": ""}
    environ.update((f"HTTP_{name.upper()}", value) for name, value in headers.items())
    setup_testing_defaults(environ)
    if wrapper:
        environ["wsgi.file_wrapper"] = wrapper
    got = []

    def application(environ, start_response):
        body = files.serve(environ, start_response)
        if body is not None:
            return body
        start_response("299 Application", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return []

    body = validator(application)(
        environ, lambda status, headers, *rest: got.append((status, headers)) or (lambda _: 0)
    )
    try:
        content = b"".join(body)
    finally:
        body.close()
    ((status, headers),) = got
    answer = Answer(int(status[:3]), headers, content)
    if answer.status in (200, 206) and method == "GET":
        assert answer["Content-Length"] == str(len(content))
    return None if answer.status == 299 else answer


@pytest.fixture
def site(tmp_path):
    """A static folder with a few files, and StaticFiles that shows it at /static."""
    folder = tmp_path / "static"
    (folder / "css").mkdir(parents=True)
    (folder / "app.js").write_bytes(b"let one = 1;\n")
    (folder / "css/site.css").write_bytes(b"body { color: red }\n")
    (folder / "digits").write_bytes(b"0123456789")
    (folder / "empty.txt").write_bytes(b"")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "static-secret").mkdir()
    (tmp_path / "static-secret/key").write_bytes(b"secret")
    return folder, static.StaticFiles([("/static", str(folder))])


@pytest.fixture(autouse=True)
def no_descriptor_is_left():
    before = descriptors()
    yield
    assert descriptors() <= before


def descriptors():
    """What is open, by number and name, but for the one that tells it."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found


# -- which file


def test_a_file_is_served_whole_with_its_type_and_validators(site):
    folder, files = site
    answer = ask(files, "/static/css/site.css")
    assert (answer.status, answer.body) == (200, b"body { color: red }\n")
    assert answer["Content-Type"] == "text/css; charset=utf-8"
    assert answer["Accept-Ranges"] == "bytes"
    assert answer["Last-Modified"] == formatdate((folder / "css/site.css").stat().st_mtime, usegmt=True)
    assert answer["ETag"].startswith('"')
    assert answer["Vary"] is None


def test_what_has_no_file_goes_on_to_the_application(site):
    _, files = site
    for path in (
        "/",
        "",
        "/static",
        "/static/",
        "/static/none",
        "/static/css",
        "/static/app.js/",
        "/static/app.js/x",
    ):
        assert ask(files, path) is None, path


def test_only_get_and_head_are_answered(site):
    _, files = site
    assert ask(files, "/static/app.js", "HEAD").status == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(files, "/static/app.js", method) is None


def test_a_prefix_matches_on_segment_borders_alone(site):
    folder, files = site
    assert ask(files, "/static-secret/key") is None
    assert ask(files, "/staticapp.js") is None
    neighbor = static.StaticFiles(
        [("/static", str(folder)), ("/static-secret", str(folder.parent / "static-secret"))]
    )
    assert ask(neighbor, "/static-secret/key").body == b"secret"


def test_a_path_that_matches_no_prefix_costs_no_system_call(site, monkeypatch):
    _, files = site
    for name in ("open", "access", "stat"):
        monkeypatch.setattr(os, name, None)
    assert files.serve({"REQUEST_METHOD": "GET", "PATH_INFO": "/blog/1"}, None) is None


def test_dots_and_nul_and_hidden_names_are_the_applications(site):
    folder, files = site
    for name in (".env", ".git", ".htpasswd", ".hidden"):
        (folder / name).write_bytes(b"secret")
    (folder / "css/.svn").mkdir()
    (folder / "css/.svn/entries").write_bytes(b"secret")
    everything = static.StaticFiles([("/static", str(folder))], dotfiles=True)
    paths = ["../secret", "css/../../secret", "css/..", ".", "./app.js", "css/../app.js", "app.js\0.css", "\0", "☃"]
    for path in [*paths, ".env", ".git", ".htpasswd", "css/.svn/entries", "/../secret", "//../secret"]:
        assert ask(files, "/static/" + path) is None, path
        assert ask(everything, "/static/" + path) is None, path
    assert ask(files, "/static/.hidden") is None
    assert ask(everything, "/static/.hidden").body == b"secret"


def test_well_known_names_are_shown(site):
    folder, files = site
    (folder / ".well-known").mkdir()
    (folder / ".well-known/security.txt").write_bytes(b"Contact: x\n")
    assert ask(files, "/static/.well-known/security.txt").body == b"Contact: x\n"


def test_doubled_slashes_mean_one(site):
    _, files = site
    assert ask(files, "/static//css///site.css").status == 200


def test_names_outside_ascii_are_found_by_their_bytes(site):
    folder, files = site
    (folder / "größe.txt").write_bytes(b"12")
    assert ask(files, "/static/" + "größe.txt".encode().decode("latin-1")).body == b"12"
    there = static.StaticFiles([("/öffentlich", str(folder))])
    assert ask(there, "/öffentlich/app.js".encode().decode("latin-1")).status == 200


def test_a_file_added_or_changed_later_is_seen_at_once(site):
    folder, files = site
    assert ask(files, "/static/new") is None
    (folder / "new").write_bytes(b"1")
    first = ask(files, "/static/new")
    (folder / "new").write_bytes(b"two")
    second = ask(files, "/static/new", if_none_match=first["ETag"])
    assert (first.body, second.status, second.body) == (b"1", 200, b"two")
    shutil.rmtree(folder)
    assert ask(files, "/static/new") is None


def test_check_static_comes_before_the_mappings_and_falls_through(site, tmp_path):
    folder, _ = site
    www = tmp_path / "www"
    (www / "static").mkdir(parents=True)
    (www / "static/app.js").write_bytes(b"first")
    (www / "robots.txt").write_bytes(b"robots")
    files = static.StaticFiles([("/static/", str(folder) + "/")], check_static=str(www))
    assert ask(files, "/static/app.js").body == b"first"
    assert ask(files, "/static/digits").body == b"0123456789"
    assert ask(files, "/robots.txt").body == b"robots"
    for path in ("/", "", "/static", "/none"):
        assert ask(files, path) is None, path
    assert files.serve({"REQUEST_METHOD": "GET", "PATH_INFO": "robots.txt"}, None) is None


def test_a_mapping_may_show_one_file(site):
    folder, _ = site
    files = static.StaticFiles([("/favicon.ico", str(folder / "digits")), ("/s", str(folder))])
    answer = ask(files, "/favicon.ico")
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert ask(files, "/favicon.ico/x") is None
    assert ask(files, "/favicon.icon") is None
    assert ask(files, "/s") is None


def test_an_index_answers_for_its_folder(site):
    folder, _ = site
    (folder / "css/index.html").write_bytes(b"<p>index")
    files = static.StaticFiles([("/static", str(folder))], index=["index.htm", "index.html"])
    answer = ask(files, "/static/css/")
    assert (answer.body, answer["Content-Type"]) == (b"<p>index", "text/html; charset=utf-8")
    assert ask(files, "/static/css") is None
    assert ask(files, "/static/") is None
    assert ask(files, "/static/app.js/") is None


def test_fifos_devices_and_sockets_are_never_served_and_never_hung_upon(site):
    folder, files = site
    os.mkfifo(folder / "fifo")
    os.mknod(folder / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    os.mkfifo(folder / "app.js.gz")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        for name in ("fifo", "zero", "socket"):
            assert ask(files, "/static/" + name) is None
    assert ask(files, "/static/app.js", accept_encoding="gzip").body == b"let one = 1;\n"


def test_a_fifo_that_takes_a_files_place_is_refused_on_the_descriptor(site):
    folder, _ = site
    os.mkfifo(folder / "fifo")
    directory = os.open(folder, os.O_PATH)
    try:
        assert beneath.open_regular(directory, b"fifo") is None
        assert beneath.open_regular(directory, b"css") is None
    finally:
        os.close(directory)


def test_a_file_that_may_not_be_read_is_the_applications():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "private")
        path.write_bytes(b"secret")
        path.chmod(0o600)
        files = static.StaticFiles([("/static", folder)])
        os.seteuid(65534)
        try:
            assert ask(files, "/static/private") is None
        finally:
            os.seteuid(0)


def test_running_out_of_descriptors_is_an_error_and_no_missing_file(site, monkeypatch):
    _, files = site

    def full(*_, **__):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="Too many open files"):
        files.serve({"REQUEST_METHOD": "GET", "PATH_INFO": "/static/app.js"}, None)


# -- links


def test_links_within_the_folder_are_followed(site):
    folder, files = site
    (folder / "relative.js").symlink_to("css/../app.js")
    (folder / "absolute.js").symlink_to(folder / "app.js")
    (folder / "css2").symlink_to("css")
    (folder / "css/up.js").symlink_to("../app.js")
    (folder / "here").symlink_to(".")
    for path in ("relative.js", "absolute.js", "css/up.js", "css2/up.js", "here/here/app.js"):
        assert ask(files, "/static/" + path).body == b"let one = 1;\n", path
    assert ask(files, "/static/css2/site.css").status == 200


def test_a_folder_that_is_itself_a_link_may_be_shown(site, tmp_path):
    folder, _ = site
    (tmp_path / "current").symlink_to(folder)
    (folder / "absolute.js").symlink_to(tmp_path / "current/app.js")
    (folder / "real.js").symlink_to(folder / "app.js")
    files = static.StaticFiles([("/static", str(tmp_path / "current"))])
    for name in ("app.js", "absolute.js", "real.js"):
        assert ask(files, "/static/" + name).status == 200


def test_no_link_leads_out_of_the_folder(site):
    folder, files = site
    outside = folder.parent
    (folder / "one").symlink_to(outside / "secret")
    (folder / "two").symlink_to("../secret")
    (folder / "three").symlink_to(outside)
    (folder / "four").symlink_to("css/../../secret")
    (folder / "five").symlink_to(f"{folder}/../secret")
    (folder / "six").symlink_to(outside / "static-secret")
    (folder / "seven").symlink_to("../static/../secret")
    (folder / "eight").symlink_to("/proc/self/cwd")
    (folder / "loop").symlink_to("loop")
    (folder / "hidden").symlink_to(".env")
    (folder / ".env").write_bytes(b"secret")
    paths = ("one", "two", "three/secret", "four", "five", "six/key", "seven", "eight/x", "loop", "loop/x", "hidden")
    for path in paths:
        assert ask(files, "/static/" + path) is None, path


def test_a_link_is_followed_only_if_its_owner_owns_the_target(site):
    folder, files = site
    (folder / "file.js").symlink_to("app.js")
    (folder / "folder").symlink_to("css")
    (folder / "chain.js").symlink_to("file.js")
    for name in ("file.js", "folder/site.css", "chain.js"):
        assert ask(files, "/static/" + name) is not None
    os.lchown(folder / "file.js", 12345, 12345)
    os.lchown(folder / "folder", 12345, 12345)
    for name in ("file.js", "folder/site.css", "chain.js"):
        assert ask(files, "/static/" + name) is None
    os.chown(folder / "app.js", 12345, 12345)
    os.chown(folder / "css", 12345, 12345)
    assert ask(files, "/static/file.js") is not None
    assert ask(files, "/static/folder/site.css") is not None
    assert ask(files, "/static/chain.js") is None


def test_a_folder_that_becomes_a_link_meanwhile_leads_nowhere(site):
    """Whoever renames things while a request walks down never gets a file from outside."""
    folder, files = site
    (folder / "turning").mkdir()
    (folder / "turning/key").write_bytes(b"harmless")
    (folder / "aside").symlink_to(folder.parent / "static-secret")
    stop = threading.Event()

    def turn():
        while not stop.is_set():
            for one, other in (("turning", "kept"), ("aside", "turning"), ("turning", "aside"), ("kept", "turning")):
                os.rename(folder / one, folder / other)

    thread = threading.Thread(target=turn)
    thread.start()
    got = set()
    try:
        deadline = time.monotonic() + 10
        while len(got) < 2 or time.monotonic() < deadline - 9.5:
            assert time.monotonic() < deadline
            answer = ask(files, "/static/turning/key")
            got.add(answer and answer.body)
    finally:
        stop.set()
        thread.join()
    assert got == {None, b"harmless"}


name = st.sampled_from([b"a", b"b", b"c", b".x", b"..", b".", b"link", b""])
target = st.lists(name, min_size=1, max_size=5).map(b"/".join).filter(bool)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    links=st.dictionaries(st.sampled_from([b"link", b"c", b"a/link", b"a/c", b"a/b/link"]), target, max_size=4),
    anchored=st.sets(st.sampled_from([b"link", b"c", b"a/link"])),
    path=st.lists(name | st.binary(max_size=3), max_size=6).map(b"/".join),
)
def test_nothing_outside_the_folder_is_ever_reached(tmp_path, links, anchored, path):
    """Whatever links there are and whatever is asked for, a file that is found lies below the root."""
    base = Path(tempfile.mkdtemp(dir=tmp_path))
    root = base / "root"
    (root / "a/b").mkdir(parents=True)
    for folder in (base, root, root / "a", root / "a/b"):
        (folder / "x").write_bytes(str(folder).encode())
        (folder / "b").exists() or (folder / "b").write_bytes(str(folder).encode())
    for place, to in links.items():
        to = os.fsencode(root) + b"/" + to if place in anchored else to
        os.symlink(to, os.fsencode(root) + b"/" + place)
    try:
        names = beneath.split("/" + path.decode("latin-1"))
        found = beneath.find(os.fsencode(root), names) if names is not None else None
        straight = os.path.realpath(os.fsencode(root) + b"/" + path) if b"\0" not in path else b""
        if found is None:
            return
        opened = beneath.open_regular(*found)
        os.close(found[0])
        with opened[0] as file:
            where = os.fsencode(os.readlink(f"/proc/self/fd/{file.fileno()}"))
        assert where.startswith(os.fsencode(root) + b"/")
        assert where == straight
    finally:
        shutil.rmtree(base)


# -- conditions


def test_a_visitor_who_has_the_file_gets_304_and_no_body(site):
    _, files = site
    plain = ask(files, "/static/app.js")
    tag, date = plain["ETag"], plain["Last-Modified"]
    for value in (tag, "W/" + tag, "*", f'"x", {tag}', f'W/"a,b",W/{tag} , "c"'):
        answer = ask(files, "/static/app.js", if_none_match=value)
        assert (answer.status, answer.body, answer["ETag"], answer["Content-Type"]) == (304, b"", tag, None), value
    later = formatdate(time.time() + 1000, usegmt=True)
    for value in (date, later):
        assert ask(files, "/static/app.js", if_modified_since=value).status == 304
    assert ask(files, "/static/app.js", "HEAD", if_none_match=tag).status == 304
    assert ask(files, "/static/app.js", if_none_match=tag, range="bytes=0-1").status == 304


def test_a_visitor_who_has_another_version_gets_the_file(site):
    _, files = site
    plain = ask(files, "/static/app.js")
    tag, date = plain["ETag"], plain["Last-Modified"]
    for value in ('"x"', "", tag[:-1], tag.strip('"'), f"w/{tag}", f'"{tag}"', '"a, *"'):
        assert ask(files, "/static/app.js", if_none_match=value).status == 200, value
    # If-None-Match alone counts if both are there
    assert ask(files, "/static/app.js", if_none_match='"x"', if_modified_since=date).status == 200
    for value in (
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "yesterday",
        "",
        "0",
        "Mon, 99 Foo 2999 00:00:00 GMT",
        date + " x y",
    ):
        assert ask(files, "/static/app.js", if_modified_since=value).status == 200, value


def test_preconditions_that_fail_are_answered_with_412(site):
    _, files = site
    tag = ask(files, "/static/app.js")["ETag"]
    assert ask(files, "/static/app.js", if_match=f'"x", {tag}').status == 200
    assert ask(files, "/static/app.js", if_match="*").status == 200
    for headers in ({"if_match": '"x"'}, {"if_match": "W/" + tag}):
        answer = ask(files, "/static/app.js", **headers)
        assert (answer.status, answer.body, answer["Content-Length"]) == (412, b"", "0")
    old, new = "Sun, 06 Nov 1994 08:49:37 GMT", formatdate(time.time() + 9, usegmt=True)
    assert ask(files, "/static/app.js", if_unmodified_since=old).status == 412
    assert ask(files, "/static/app.js", if_unmodified_since=new).status == 200
    assert ask(files, "/static/app.js", if_unmodified_since="never").status == 200


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_all_three_forms_of_a_date_are_read(text):
    assert http_file.parse_date(text) == (1994, 11, 6, 8, 49, 37)


@given(st.integers(0, 253402300799))
def test_a_date_is_written_as_the_standard_library_does_and_read_back(seconds):
    moment = time.gmtime(seconds)
    assert http_file.http_date(moment) == formatdate(seconds, usegmt=True)
    assert http_file.parse_date(http_file.http_date(moment)) == tuple(moment[:6])


@given(st.text() | st.from_regex(r"\w{3}, \w{1,4} \w{3} \w{1,5} [\w:]{1,9} GMT", fullmatch=True))
def test_a_date_that_is_none_raises_nothing(text):
    assert http_file.parse_date(text) is None or len(http_file.parse_date(text)) == 6


@pytest.mark.parametrize("seconds", [-1, 0, 2**31, 2**40, 2**55])
def test_times_that_no_date_can_hold_are_bounded(seconds):
    reply = http_file.decide({"REQUEST_METHOD": "GET"}, 1, seconds * 10**9, "text/plain")
    assert reply.status == "200 OK"
    assert len(dict(reply.headers)["Last-Modified"]) == 29


# -- ranges


@pytest.mark.parametrize(
    ("header", "content", "content_range"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=-1", b"9", "bytes 9-9/10"),
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=0-", b"0123456789", "bytes 0-9/10"),
        ("bytes=-99", b"0123456789", "bytes 0-9/10"),
        ("bytes=5-99999999999999999999999999999", b"56789", "bytes 5-9/10"),
        ("Bytes=1-1", b"1", "bytes 1-1/10"),
        ("bytes= 1-1 ", b"1", "bytes 1-1/10"),
    ],
)
def test_a_range_is_answered_with_its_bytes_alone(site, header, content, content_range):
    _, files = site
    answer = ask(files, "/static/digits", range=header)
    assert (answer.status, answer.body, answer["Content-Range"]) == (206, content, content_range)


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=" + "9" * 5000 + "-"])
def test_a_range_behind_the_end_is_answered_with_416(site, header):
    _, files = site
    answer = ask(files, "/static/digits", range=header)
    assert (answer.status, answer.body, answer["Content-Range"]) == (416, b"", "bytes */10")


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=4-2", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "bytes=1", "bytes=--1",
     "bytes=+1-2", "bytes=0x1-2", "bytes=1_0-", "bytes=²-", "bytes=1-2-3"],
)  # fmt: skip
def test_a_range_that_is_not_valid_or_several_is_ignored(site, header):
    _, files = site
    answer = ask(files, "/static/digits", range=header)
    assert (answer.status, answer.body, answer["Content-Range"]) == (200, b"0123456789", None)


def test_an_empty_file_has_no_range(site):
    _, files = site
    assert ask(files, "/static/empty.txt").body == b""
    assert ask(files, "/static/empty.txt", range="bytes=0-").status == 416
    assert ask(files, "/static/empty.txt", range="bytes=-5").status == 200


def test_head_has_the_heads_of_get_and_ignores_a_range(site):
    _, files = site
    get, head = ask(files, "/static/digits"), ask(files, "/static/digits", "HEAD", range="bytes=0-1")
    assert (head.status, head.headers, head.body) == (200, get.headers, b"")


def test_if_range_needs_the_very_version(site):
    _, files = site
    plain = ask(files, "/static/digits")
    for value in (plain["ETag"], plain["Last-Modified"]):
        assert ask(files, "/static/digits", range="bytes=1-2", if_range=value).body == b"12"
    later = formatdate(time.time() + 1000, usegmt=True)
    for value in ("W/" + plain["ETag"], '"x"', "*", "", later, "x"):
        answer = ask(files, "/static/digits", range="bytes=1-2", if_range=value)
        assert (answer.status, answer.body) == (200, b"0123456789"), value


@given(st.text() | st.from_regex(r"bytes=[0-9]*-[0-9]*", fullmatch=True), st.integers(0, 50))
def test_a_range_never_leaves_the_file(header, size):
    span = http_file.parse_range(header, size)
    if span is not None:
        start, length = span
        assert start >= 0
        assert length == 0 or (length > 0 and start + length <= size)


@given(st.binary(min_size=1, max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_the_slice_that_it_names(content, first, extra):
    size = len(content)
    for header, expected in (
        (f"bytes={first}-{first + extra}", content[first : first + extra + 1]),
        (f"bytes={first}-", content[first:]),
        (f"bytes=-{first}", content[-first:] if first else b""),
    ):
        start, length = http_file.parse_range(header, size)
        assert content[start : start + length] == expected


# -- compressed siblings


@pytest.fixture
def packed(site):
    folder, files = site
    (folder / "app.js.gz").write_bytes(gzip.compress(b"let one = 1;\n"))
    (folder / "app.js.br").write_bytes(b"brotli stands in")
    return folder, files


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("gzip, deflate, br", "br"),
        ("gzip", "gzip"),
        ("GZIP;Q=0.5", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("*", "br"),
        ("*;q=0.1, br;q=0", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000, br ;q=0", None),
        ("gzip;q=x", None),
        ("gzip;q=nan", None),
        ("identity, gzip;q=0.5", None),
        ("gzipped, xbr", None),
        ("", None),
        ("identity", None),
        ("*;q=0", None),
    ],
)
def test_the_encoding_is_the_best_that_the_visitor_takes(packed, accept, encoding):
    folder, files = packed
    answer = ask(files, "/static/app.js", accept_encoding=accept)
    name = {"br": "app.js.br", "gzip": "app.js.gz", None: "app.js"}[encoding]
    assert answer["Content-Encoding"] == encoding
    assert answer.body == (folder / name).read_bytes()
    assert answer["Vary"] == "Accept-Encoding"
    assert answer["Content-Type"] == "text/javascript; charset=utf-8"


def test_each_encoding_has_its_own_tag_and_ranges_are_of_its_bytes(packed):
    _, files = packed
    plain, packed = ask(files, "/static/app.js"), ask(files, "/static/app.js", accept_encoding="gzip")
    assert plain["ETag"] != packed["ETag"]
    assert ask(files, "/static/app.js", accept_encoding="gzip", if_none_match=plain["ETag"]).status == 200
    again = ask(files, "/static/app.js", accept_encoding="gzip", if_none_match=packed["ETag"])
    assert (again.status, again["Vary"]) == (304, "Accept-Encoding")
    part = ask(files, "/static/app.js", accept_encoding="gzip", range="bytes=0-1")
    assert (part.status, part.body, part["Content-Encoding"]) == (206, b"\x1f\x8b", "gzip")


def test_a_sibling_older_than_its_file_is_left_alone(packed):
    folder, files = packed
    os.utime(folder / "app.js.br", (1000, 1000))
    assert ask(files, "/static/app.js", accept_encoding="gzip, br")["Content-Encoding"] == "gzip"
    os.utime(folder / "app.js.gz", (1000, 1000))
    assert ask(files, "/static/app.js", accept_encoding="gzip, br").body == b"let one = 1;\n"


def test_a_packed_file_asked_for_by_its_own_name_is_sent_as_it_is(packed):
    _, files = packed
    answer = ask(files, "/static/app.js.gz", accept_encoding="gzip")
    assert (answer["Content-Type"], answer["Content-Encoding"]) == ("application/gzip", None)


def test_a_linked_file_has_the_siblings_of_its_target(packed):
    folder, files = packed
    (folder / "link.css").symlink_to("app.js")
    answer = ask(files, "/static/link.css", accept_encoding="gzip")
    assert (answer["Content-Encoding"], answer["Content-Type"]) == ("gzip", "text/css; charset=utf-8")
    (folder / "digits.gz").symlink_to(folder.parent / "secret")
    assert ask(files, "/static/digits", accept_encoding="gzip").body == b"0123456789"


@given(st.text())
def test_no_accept_encoding_raises(header):
    assert set(http_file.accepted_encodings(header)) <= set(http_file.ENCODINGS)


# -- types and bodies


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        (b"a.HTML", "text/html; charset=utf-8"),
        (b"a.min.js", "text/javascript; charset=utf-8"),
        (b"a.woff2", "font/woff2"),
        (b"a.tar.gz", "application/gzip"),
        (b"a.odt", "application/vnd.oasis.opendocument.text"),  # from the machine's table
        (b"a", "application/octet-stream"),
        (b"a.", "application/octet-stream"),
        (b"a.no-such-type", "application/octet-stream"),
        (b"a.\xff", "application/octet-stream"),
    ],
)
def test_types_are_told_by_the_extension(name, media_type):
    assert static.content_type(name) == media_type


def test_a_machine_without_a_table_of_types_serves_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(static, "MIME_TYPES", str(tmp_path / "none"))
    assert static.content_type(b"a.xyzzy") == "application/octet-stream"


def test_the_servers_file_wrapper_gets_the_open_file_itself(site):
    folder, files = site
    seen = []

    def wrapper(file, size):
        seen.append((os.fstat(file.fileno()).st_ino, size))
        return FileWrapper(file, size)

    assert ask(files, "/static/digits", wrapper=wrapper).body == b"0123456789"
    assert ask(files, "/static/digits", wrapper=wrapper, range="bytes=0-").body == b"0123456789"
    assert seen == [((folder / "digits").stat().st_ino, static.BLOCK)] * 2
    assert ask(files, "/static/digits", wrapper=wrapper, range="bytes=1-").body == b"123456789"
    assert ask(files, "/static/digits", "HEAD", wrapper=wrapper).body == b""
    assert len(seen) == 2


def test_large_files_come_whole_with_and_without_a_wrapper(site):
    folder, files = site
    content = os.urandom(3 * static.BLOCK + 17)
    (folder / "large").write_bytes(content)
    assert ask(files, "/static/large", wrapper=None).body == content
    assert ask(files, "/static/large").body == content
    assert ask(files, "/static/large", range=f"bytes=5-{2 * static.BLOCK}").body == content[5 : 2 * static.BLOCK + 1]


def test_a_file_that_shrinks_while_it_is_sent_is_an_error(site):
    folder, _ = site
    with contextlib.closing(static.Span(io.FileIO(folder / "digits"), 0, 20)) as span:
        chunks = iter(span)
        assert next(chunks) == b"0123456789"
        with pytest.raises(OSError, match="became shorter"):
            next(chunks)


def test_a_start_response_that_raises_leaves_no_descriptor(site):
    _, files = site

    def refuse(*_):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        files.serve({"REQUEST_METHOD": "GET", "PATH_INFO": "/static/app.js"}, refuse)


def test_importing_it_brings_in_no_further_module():
    """Start-up time: only what every interpreter has loaded already."""
    script = (
        "import sys; before = set(sys.modules); import user_wsgi_wrapper.runtime.static; "
        "print(*sorted(name for name in set(sys.modules) - before if 'user_wsgi_wrapper' not in name))"
    )
    got = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(got.stdout.split()) <= {"errno"}


# -- under real uWSGI

APPLICATION = """
import os, sys
sys.path.insert(0, {library!r})
from user_wsgi_wrapper.runtime.static import StaticFiles
files = StaticFiles([("/static", {folder!r})])
def application(environ, start_response):
    body = files.serve(environ, start_response)
    if body is not None:
        return body
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % len(os.listdir("/proc/self/fd"))]
"""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


@pytest.fixture
def server(site, tmp_path):
    folder, _ = site
    (tmp_path / "application.py").write_text(APPLICATION.format(library=str(ROOT), folder=str(folder)))
    address = str(tmp_path / "http.socket")
    command = ["uwsgi", "--plugins", "python3", "--http-socket", address, "--file", str(tmp_path / "application.py")]
    command += ["--threads", "2", "--die-on-term", "--disable-logging", "--need-app"]
    log = (tmp_path / "uwsgi.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                fetch(address, "/")
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "uwsgi.log").read_text()
                time.sleep(0.02)
        yield folder, address
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def fetch(address, path, method="GET", **headers):
    with contextlib.closing(UnixConnection(address)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read(), response.headers


def test_under_uwsgi_files_come_whole_and_none_stays_open(server):
    folder, address = server
    content = os.urandom(2_000_003)
    (folder / "large").write_bytes(content)
    before = int(fetch(address, "/")[1])
    for _ in range(20):
        assert fetch(address, "/static/large")[:2] == (200, content)
        assert fetch(address, "/static/large", Range="bytes=100000-299999")[:2] == (206, content[100000:300000])
        assert fetch(address, "/static/large", "HEAD")[:2] == (200, b"")
        assert fetch(address, "/static/empty.txt")[:2] == (200, b"")
        headers = fetch(address, "/static/digits")[2]
        assert fetch(address, "/static/digits", If_None_Match=headers["ETag"])[:2] == (304, b"")
    assert abs(int(fetch(address, "/")[1]) - before) <= 1
