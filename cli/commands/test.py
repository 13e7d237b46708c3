"""run the tests; what follows is passed on to pytest

example:
  ./facewarden test
  ./facewarden test tests/vault -k ledger
"""

import argparse
import subprocess
import sys

from cli.supervisor import ROOT
from vault.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tests", nargs="*", help="files, folders, test ids and options of pytest; default: all tests")


def run(args: argparse.Namespace, settings: Settings) -> int:
    return subprocess.run([sys.executable, "-P", "-m", "pytest", *args.tests], cwd=ROOT, check=False).returncode
