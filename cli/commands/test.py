"""run the tests, in parallel on all cores; what follows is passed on to pytest, which then runs it on one

example:
  ./facewarden test
  ./facewarden test tests/vault -k ledger
"""

import argparse
import os
import subprocess
import sys

from cli.supervisor import ROOT
from vault.settings import Settings

MOST_AT_ONCE = 4  # each starts servers of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tests", nargs="*", help="files, folders, test ids and options of pytest; default: all tests")


def run(args: argparse.Namespace, settings: Settings) -> int:
    parallel = [] if args.tests else ["-n", str(min(os.cpu_count() or 1, MOST_AT_ONCE)), "--dist", "loadgroup"]
    argv = [sys.executable, "-P", "-m", "pytest", *parallel, *args.tests]
    return subprocess.run(argv, cwd=ROOT, check=False).returncode
