"""`./facewarden COMMAND`: finds the command, reads the settings once, turns errors into one line and an exit code."""

import argparse
import contextlib
import difflib
import errno
import importlib
import os
import sys
from typing import Any, NoReturn

from cli import VERSION
from cli.logs import note_crash, start_log
from vault.errors import FacewardenError
from vault.letters import show_text
from vault.log import clean_text, set_up_logging
from vault.settings import Settings, load_settings
from vault.terminal import say, set_up_streams

COMMANDS = ("demo", "up", "status", "doctor", "source", "crawl", "ingest", "enrol", "withdraw", "people", "alerts",
            "calibrate", "datasets", "hunts", "login", "ledger", "keys", "warc", "models", "verify", "test",
            )  # fmt: skip
PROCESSES = ("worker", "clock", "web", "crawler", "health")  # what a supervisor starts; not listed in the help
COMMON = {"--home": "the state folder", "--config": "a settings file (TOML)"}
USAGE_ERROR = 2


class Parser(argparse.ArgumentParser):
    """A parser that takes the common options; so do the parsers of its commands, and those of their actions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, text in COMMON.items():
            self.add_argument(name, default=argparse.SUPPRESS, help=text)

    def error(self, message: str) -> NoReturn:
        super().error(show_text(message))


def make_parser(names: tuple[str, ...] = (*COMMANDS, *PROCESSES)) -> argparse.ArgumentParser:
    """The parser of all commands, each from its own module in `cli/commands/`."""
    parser = Parser(
        prog="facewarden",
        description="Finds leaked face datasets on sale and tells the enrolled people whose face is in them.",
        epilog="begin with: ./facewarden demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"facewarden {VERSION}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in names:
        module = importlib.import_module(f"cli.commands.{name}")
        text = (module.__doc__ or "").strip()
        options = {"description": text, "formatter_class": argparse.RawDescriptionHelpFormatter}
        if name not in PROCESSES:
            options["help"] = text.splitlines()[0]
        subparser = subparsers.add_parser(name, **options)  # type: ignore[arg-type]
        module.add_arguments(subparser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    set_up_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    named = find_command(arguments)
    if named and named not in (*COMMANDS, *PROCESSES):
        near = difflib.get_close_matches(named, COMMANDS, 1)
        guess = f"did you mean {near[0]!r}?" if near else f"commands are: {', '.join(COMMANDS)}"
        make_parser(()).error(f"there is no command {named!r}; {guess}")
    # a named command loads its own module only: the others' libraries cost seconds
    parser = make_parser((named,) if named else COMMANDS)
    if named == "test" and arguments[0] == "test" and not {"-h", "--help"} & set(arguments):
        arguments = ["test", "--", *arguments[1:]]  # all of it is for pytest
    args = parser.parse_args(arguments)
    set_up_logging(args.command)
    settings: Settings | None = None
    try:
        settings = load_settings(home=getattr(args, "home", None), config=getattr(args, "config", None))
        start_log(args.command, settings, service=args.command in PROCESSES or getattr(args, "service", False))
        return int(importlib.import_module(f"cli.commands.{args.command}").run(args, settings))
    except FacewardenError as exc:
        say_error(exc.stable_code, exc.message, exc.mend)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as exc:
        code = "disk_full" if is_full(exc) else "system"
        say_error(code, f"{exc.strerror or exc}{f': {exc.filename}' if exc.filename else ''}", mend_for(exc, settings))
        return USAGE_ERROR
    except Exception as exc:  # the outer edge of the process
        if is_database_error(exc):
            code = "disk_full" if is_full(exc) else "store_refused"
            say_error(code, str(exc).splitlines()[0], "see ./facewarden status; nothing accepted is lost")
            return USAGE_ERROR
        say_error("unexpected", "something went wrong that we did not foresee", f"tell us: {note_crash()}")
        return 70  # EX_SOFTWARE, sysexits.h


def find_command(arguments: list[str]) -> str:
    """The first word that is neither an option nor the value of a common one; "" if there is none."""
    words = iter(arguments)
    for word in words:
        if word in COMMON:
            next(words, "")
        elif not word.startswith("-"):
            return word
    return ""


def is_database_error(exc: Exception) -> bool:
    from vault.store import DatabaseError

    return isinstance(exc, DatabaseError)


def is_full(exc: Exception) -> bool:
    from vault.store import OutOfRoom

    return isinstance(exc, OutOfRoom) or getattr(exc, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def say_error(code: str, message: str, mend: str) -> None:
    say(f"facewarden: {code}: {clean_text(message, 400)}", to=sys.stderr)
    for number, line in enumerate(mend.splitlines()):  # such as lines to add to a file; indented, so that none is ours
        say(f"  {'     ' if number else 'fix: '}{clean_text(line.strip(), 1000)}", to=sys.stderr)


def mend_for(exc: OSError, settings: Settings | None) -> str:
    if is_full(exc):
        from vault.disks import list_disks

        with contextlib.suppress(OSError):
            low = [disk.describe() for disk in (list_disks(settings) if settings else ()) if disk.is_low]
            return "; ".join([*low, "free some of it, nothing accepted is lost"])
    return {
        errno.EACCES: "check who owns it, or choose another --home",
        errno.EROFS: "the folder cannot be written: choose another --home",
    }.get(exc.errno or 0, "check the path and its rights")


if __name__ == "__main__":
    sys.exit(main())
