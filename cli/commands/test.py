"""run the tests, in parallel on all cores; what follows is passed on to pytest, which then runs it on one

example:
  ./facewarden test
  ./facewarden test tests/vault -k ledger
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cli.supervisor import ROOT
from vault.embedded import make_private_folder
from vault.settings import Settings

MOST_AT_ONCE = 4  # each starts servers of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tests", nargs="*", help="files, folders, test ids and options of pytest; default: all tests")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Raises ServerError, where the temporary folder's part of ours belongs to somebody else."""
    parallel = [] if args.tests else ["-n", str(min(os.cpu_count() or 1, MOST_AT_ONCE)), "--dist", "loadgroup"]
    cache = Path(tempfile.gettempdir()) / f"facewarden-tests-{os.getuid()}"
    make_private_folder(cache)
    argv = [sys.executable, "-P", "-m", "pytest", "-o", f"cache_dir={cache}/pytest", *parallel, *args.tests]
    return subprocess.run(argv, cwd=ROOT, check=False).returncode
