"""check an evidence bundle, offline and by itself

example:
  ./facewarden verify alert.fwb
  ./facewarden verify alert.fwb --key 5f2a...     (the signer's public key or its fingerprint)
"""

import argparse

from evidence.verify import main
from vault.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", help="the bundle's file")
    parser.add_argument("--key", help="public key or fingerprint that must have signed it")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    return main([args.bundle, *([] if args.key is None else ["--key", args.key]), *(["--json"] if args.json else [])])
