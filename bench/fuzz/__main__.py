"""Runs targets of tests/fuzz under atheris (libFuzzer: inputs that reach new code are mutated further)."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("line", "key", "domain", "static", "conditions", "record", "question", "answer")
MODULES = ["log_splitter", "user_wsgi_wrapper"]
LONGEST = 160  # bytes of an input
KEPT = 150  # inputs of a target that are kept for the tests


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs a target (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the inputs that reached new code for the tests")
    parser.add_argument("--raw", type=Path, help="write the figures here")
    parser.add_argument("--in", dest="corpus", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.corpus is not None:
        fuzz(options.names[0], options.runs, options.corpus)
    results = {name: in_a_process(name, options.runs, options.keep) for name in options.names or NAMES}
    print("| target | inputs | seconds | inputs a second | that reached new code | failed |")
    print("| :--- | ---: | ---: | ---: | ---: | ---: |")
    for name, result in results.items():
        print("| {} | {:,} | {:.0f} | {:,.0f} | {:,} | {} |".format(name, *result.values()))
    if options.raw is not None:
        options.raw.write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(any(result["failed"] for result in results.values()))


def in_a_process(name: str, runs: int, keep: bool) -> dict[str, float]:
    """Fuzz one target in a process of its own, as libFuzzer never comes back."""
    from tests.fuzz import targets

    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus = Path(folder)
        for number, seed in enumerate(targets.read_seeds(name)):
            (corpus / f"seed{number}").write_bytes(seed)
        began = time.monotonic()
        command = [sys.executable, "-m", "bench.fuzz", name, "--runs", str(runs), "--in", folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        seconds = time.monotonic() - began
        if done.returncode:
            print(f"--- {name}\n{done.stdout[-6000:]}", file=sys.stderr)
        found = [path.read_bytes() for path in corpus.iterdir()]
        if keep:
            targets.write_seeds(name, sorted(found, key=len)[:KEPT])
    tried = runs if not done.returncode else 0
    return {
        "inputs": tried, "seconds": seconds, "rate": tried / seconds, "new": len(found), "failed": done.returncode,
    }  # fmt: skip


def fuzz(name: str, runs: int, corpus: Path) -> None:
    """Never comes back: libFuzzer ends the process, with another status than 0 if the property failed."""
    import atheris

    with atheris.instrument_imports(include=MODULES):
        from tests.fuzz import targets
    check = targets.TARGETS[name]
    arguments = [f"-runs={runs}", f"-max_len={LONGEST}", "-len_control=0", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([name, *arguments, f"-artifact_prefix={corpus}/failed-", str(corpus)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
