"""The application that BENCH_APP names under the peer of BENCH_PEER, over BENCH_STATIC's files if it is set."""

import importlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bench import peers

application = importlib.import_module(os.environ["BENCH_APP"]).application
_peer = os.environ["BENCH_PEER"]
if "BENCH_STATIC" in os.environ:
    if _peer in peers.STATIC:
        application = peers.STATIC[_peer](application, os.environ["BENCH_STATIC"])
elif _peer in peers.CAPTURING:
    application = peers.CAPTURING[_peer](application)
