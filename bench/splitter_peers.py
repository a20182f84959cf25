"""The programs that deal lines out to files, each made to do the same: `key|text` in, text into FOLDER/key.log."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SPLIT_LOGFILE = Path("/usr/sbin/split-logfile")
RSYSLOG = """\
global(workDirectory="{work}")
module(load="imfile")
template(name="path" type="list") {{
    constant(value="{folder}/")
    property(name="msg" field.delimiter="124" field.number="1")
    constant(value=".log")
}}
template(name="line" type="list") {{
    property(name="msg" field.delimiter="124" field.number="2")
    constant(value="\\n")
}}
input(type="imfile" File="{work}/input" Tag="x" ruleset="split")
ruleset(name="split") {{
    action(type="omfile" dynaFile="path" template="line" dynaFileCacheSize="{cache}" ioBufferSize="16k")
}}
"""
SYSLOG_NG = """\
@version: 3.35
options {{ stats-freq(0); flush-lines(1000); use-dns(no); dns-cache(no); keep-hostname(yes); }};
source s {{ file("{input}" flags(no-parse) follow-freq(1) log-fetch-limit(1000) log-iw-size(10000)); }};
parser p {{ csv-parser(columns("key", "text") delimiters("|") flags(greedy)); }};
destination d {{ file("{folder}/${{key}}.log" template("${{text}}\\n") log-fifo-size(2000000)); }};
log {{ source(s); parser(p); destination(d); flags(flow-control); }};
"""


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, seconds of processor, and the largest resident memory in MiB."""

    wall: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Job:
    """What a peer is given: `lines`, `vhost_lines` or `json_lines` in, files in `folder` out, `size` bytes in all."""

    lines: Path
    vhost_lines: Path
    json_lines: Path
    folder: Path
    work: Path
    keys: int
    size: int


class Watch:
    """A process's largest resident memory, looked at every few milliseconds.

    The kernel's own figure has what its parent took before exec(3) in it.
    """

    def __init__(self, pid: int) -> None:
        self.memory = 0.0
        self._status = Path(f"/proc/{pid}/status")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            try:
                text = self._status.read_text()
            except OSError:
                return
            found = re.search(r"VmHWM:\s+(\d+) kB", text)
            self.memory = int(found[1]) / 1024 if found else self.memory

    def end(self) -> float:
        self._ended.set()
        self._thread.join()
        return self.memory


def measured(command: list[str], stdin: Path | None, stdout: Path | None = None, cwd: Path | None = None) -> Cost:
    """Run a command to its end."""
    with Path(stdin or os.devnull).open("rb") as source, Path(stdout or os.devnull).open("wb") as sink:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdin=source, stdout=sink, stderr=subprocess.DEVNULL, cwd=cwd)
        return _end(process, began)


def _end(process: subprocess.Popen[bytes], began: float, watch: Watch | None = None) -> Cost:
    watch = watch or Watch(process.pid)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    memory = watch.end()
    if process.returncode not in (0, -15):
        raise RuntimeError(f"{process.args}: exit status {process.returncode}")
    return Cost(wall, used.ru_utime + used.ru_stime, memory)


def served(command: list[str], job: Job, environment: dict[str, str] | None = None) -> Cost:
    """Run a daemon until it has written everything; its time counts to the last byte."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    watch = Watch(process.pid)
    deadline = began + 600
    wall = 0.0
    while not wall:
        time.sleep(0.1)
        size = sum(entry.stat().st_size for entry in os.scandir(job.folder))
        if size >= job.size:
            wall = time.perf_counter() - began
        elif time.perf_counter() > deadline or process.poll() is not None:
            process.kill()
            process.wait()
            watch.end()
            raise RuntimeError(f"{command[0]} wrote {size} of {job.size} bytes")
    process.terminate()
    cost = _end(process, began, watch)
    return Cost(wall, cost.cpu, cost.memory)


def ours(*options: str) -> Callable[[Job], Cost]:
    """The log-splitter as it is installed, with all its checks."""

    def run(job: Job) -> Cost:
        return measured(_command(job, options), job.lines)

    return run


def _command(job: Job, options: tuple[str, ...]) -> list[str]:
    program = Path(sys.executable).with_name("log-splitter")
    return [str(program), "--directory", str(job.folder), "--name", "{key}.log", *options]


def ours_json(job: Job) -> Cost:
    """The same with an object a line, whose `host` is the key."""
    return measured(_command(job, ("--format", "json")), job.json_lines)


def ours_from_a_pipe(job: Job) -> Cost:
    """The same behind a pipe, as behind Apache."""
    return piped(_command(job, ()), job.lines)


def piped(command: list[str], stdin: Path) -> Cost:
    """Run a command behind a pipe; what fills that isn't counted."""
    began = time.perf_counter()
    with subprocess.Popen(["cat", stdin], stdout=subprocess.PIPE) as source:
        process = subprocess.Popen(command, stdin=source.stdout, stderr=subprocess.DEVNULL)
        source.stdout.close()
        return _end(process, began)


def ideal(job: Job) -> Cost:
    program = job.work / "splitter_ideal"
    if not program.exists():
        subprocess.run(["cc", "-O2", "-o", program, HERE / "splitter_ideal.c"], check=True)
    return measured([str(program), str(job.folder)], job.lines)


def cat(job: Job) -> Cost:
    return measured(["cat"], job.lines, job.folder / "all.log")


def awk(name: str, is_piped: bool = False, is_json: bool = False) -> Callable[[Job], Cost]:
    program = '{i = index($0, "|"); print substr($0, i + 1) > (folder "/" substr($0, 1, i - 1) ".log")}'
    if is_json:  # it takes the first string for the key: nothing is parsed
        program = '{split($0, part, "\\""); print > (folder "/" part[4] ".log")}'

    def run(job: Job) -> Cost:
        command = [name, "-v", f"folder={job.folder}", program]
        lines = job.json_lines if is_json else job.lines
        return piped(command, lines) if is_piped else measured(command, lines)

    return run


def split_logfile(job: Job) -> Cost:
    return measured(["perl", str(SPLIT_LOGFILE)], job.vhost_lines, cwd=job.folder)


def rsyslog(job: Job) -> Cost:
    work = job.work / "rsyslog"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    os.link(job.lines, work / "input")
    (work / "conf").write_text(RSYSLOG.format(work=work, folder=job.folder, cache=job.keys + 10))
    return served(["/usr/sbin/rsyslogd", "-n", "-f", str(work / "conf"), "-i", str(work / "pid")], job)


def syslog_ng(root: Path) -> Callable[[Job], Cost]:
    """syslog-ng from an unpacked package: Debian doesn't install it beside rsyslog."""

    def run(job: Job) -> Cost:
        work = job.work / "syslog-ng"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        (work / "conf").write_text(SYSLOG_NG.format(input=job.lines, folder=job.folder))
        modules = next(root.glob("usr/lib/syslog-ng/3.*"))
        names = {"cfgfile": "conf", "persist-file": "persist", "pidfile": "pid", "control": "ctl"}
        options = [f"--{option}={work / name}" for option, name in names.items()]
        command = [str(root / "usr/sbin/syslog-ng"), "--foreground", "--no-caps", *options]
        environment = {"LD_LIBRARY_PATH": str(modules.parent), "PATH": os.defpath}
        return served([*command, f"--module-path={modules}"], job, environment)

    return run


def allow_files(number: int) -> None:
    """Let this process and its children open that many files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard), hard))
