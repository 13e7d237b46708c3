"""Keeps libraries from calling their makers and from writing ids and caches into the user's home.

Imported by `vault/__init__.py`, hence before any library that would. docs/telemetry.md lists what was found, library by
library; tests/test_quiet.py counts names, packets and files of whole runs.
"""

import os
import sys

# In every process of ours: set here for this one, passed on to its children.
QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: an event at import, a device id and a database in ~/.cache/Microsoft
    "OTEL_SDK_DISABLED": "true",  # FastAPI exports traces to whatever OTEL_* names
    "DO_NOT_TRACK": "1",  # the convention, for what a later version brings
    "PYTHONDONTWRITEBYTECODE": "1",  # set-up compiles the program once; nothing that runs writes beside it
}
# openvino imports it where it is there (it left the lock) and uses its own stub where it is not.
REFUSED_MODULES = ("openvino_telemetry",)


def silence() -> None:
    os.environ.update(QUIET)
    sys.dont_write_bytecode = True  # the variable counts from the next interpreter on
    for name in REFUSED_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails (the import system's own rule)
