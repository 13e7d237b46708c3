"""The numbers of the advisory locks, each with what it keeps apart: no two may be the same in one database."""

from enum import IntEnum


class Lock(IntEnum):
    """0x4657 is "FW". The lock of a source is in two parts, 0x4657 and the source's id (`vault/store/pages.py`)."""

    MIGRATE = 0x46570001  # one process changes the schema
    LEDGER = 0x46570002  # one sequencer places entries
    DATASETS = 0x46570004  # whoever merges two, alone; whoever writes an alert, shared
    SEGMENTS = 0x46570009  # no segment comes or goes
