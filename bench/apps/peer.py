"""The application that BENCH_APP names under the peer that BENCH_PEER names, over the files of BENCH_STATIC if it is set."""

import importlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from bench import peers

application = importlib.import_module(os.environ["BENCH_APP"]).application
_peer = os.environ["BENCH_PEER"]
if "BENCH_STATIC" in os.environ:
    if _peer in peers.STATIC:
        application = peers.STATIC[_peer](application, os.environ["BENCH_STATIC"])
elif _peer in peers.CAPTURING:
    application = peers.CAPTURING[_peer](application)
