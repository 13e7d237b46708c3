"""the key file: the signer's fingerprint

Bundles, receipts and heads of the ledger are signed by the key file's signer. Give its fingerprint to whoever checks
them, over another way than the bundle: `./facewarden verify FILE --key FINGERPRINT`.

example:
  ./facewarden keys fingerprint
"""

import argparse

from cli.setup import open_keys
from vault.settings import Settings
from vault.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("fingerprint",), help="print the signer's fingerprint, 64 hex digits")


def run(args: argparse.Namespace, settings: Settings) -> int:
    say(open_keys(settings).fingerprint)
    return 0
