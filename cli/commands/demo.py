"""set everything up and show the whole chain on three small markets

Enrols five people whose faces ship with installed packages, crawls three markets on this machine (a shop, a forum with
archives, a page that needs JavaScript), finds, matches, alerts, seals and verifies one evidence bundle.

With --faces the same on real faces: a folder with one folder a person, as LFW is laid out. Its people are drawn from
those whom no calibration has used. Then --exit gives 0 when at least 90 % of the photos were found, with at most 3
false alerts and at most a tenth of the people missed.

example:
  ./facewarden demo
  ./facewarden demo --exit --json out.json
  ./facewarden demo --faces lfw --people 50 --images 2000 --exit --seed 1
"""

import argparse
import os
from pathlib import Path

from vault.errors import SettingError
from vault.settings import Settings, data_folder, find_home, is_port
from vault.terminal import Screen

ORGANISATION = {
    "name": "The Facewarden demo on this machine",
    "contact": "whoever started it",
    "privacy_url": "https://example.org/nothing-leaves-this-machine",
}
FACES_AN_IMAGE = 1.25  # what the budget of a run on real faces is spread over


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--exit", action="store_true", help="end with 0 if the alerts are what was planted, else 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write every listing, sample, face and alert")
    parser.add_argument("--port", type=int, default=8600, help="of the dashboard; the markets take the next three")
    parser.add_argument("--workers", type=int, help="worker processes (default: one a core)")
    parser.add_argument("--faces", type=Path, metavar="DIR", help="real faces, one folder a person")
    parser.add_argument("--people", type=int, default=50, help="with --faces: how many enrol")
    parser.add_argument("--images", type=int, default=2000, help="with --faces: how many other photos are planted")
    parser.add_argument("--seed", type=int, default=1, help="with --faces: which people and photos are drawn")
    from cli.commands.crawl import add_lab

    add_lab(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:

    from cli.commands.crawl import check_lab
    from cli.demo.plant import plan_faces, plan_small
    from cli.demo.run import Demo, Options, choose_markets, run_demo

    lab = check_lab(args.lab)
    for flag, file in (("--json", args.json), ("--results", args.results)):
        check_output(flag, file)
    settings = choose_settings(args, settings)
    markets = choose_markets(settings)
    if args.faces:
        photos = list_photos(args.faces)
        check_enough(photos, args.people, args.images)
        plan = plan_faces(photos, args.people, args.images, args.seed, markets)
    else:
        plan = plan_small()
    options = Options(exit=args.exit, json_file=args.json, results_file=args.results, faces=args.faces is not None)
    console = Screen(stderr=True)
    return run_demo(Demo(settings=settings, plan=plan, options=options, console=console, markets=markets, lab=lab))


def check_output(flag: str, file: Path | None) -> None:
    """Can it be written once the run is over? Raises SettingError."""
    if file is None:
        return
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise SettingError(f"{flag}: {file} cannot be a file", mend="name a file in a folder that exists")
    if not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        raise SettingError(f"{flag}: {file} cannot be written", mend="name a file in a folder of yours")


def choose_settings(args: argparse.Namespace, settings: Settings) -> Settings:
    """The demo has a state folder of its own, so that its people never mix with real ones. Raises SettingError."""
    from cli.demo.run import MARKET_PORTS

    if getattr(args, "home", None) is None and settings.home == find_home(data_folder() / "facewarden", {}):
        home = find_home(data_folder() / "facewarden-demo", {})
        settings = settings.replace("", home=home, key_file=home.with_name(home.name + ".key"))
    settings = settings.replace("web", port=args.port, public_url="")
    settings = settings.replace("organisation", **ORGANISATION).replace("delivery", alert_minutes=0)
    last = max(MARKET_PORTS.values())
    if not is_port(str(args.port + last)):
        raise SettingError(
            f"--port {args.port}: the markets need the next {last} ports", mend=f"choose one up to {65_535 - last}"
        )
    if args.workers is not None:
        settings = settings.replace("", workers=args.workers)
    if args.faces:
        settings = settings.replace("matching", faces_per_day=max(1.0, args.images * FACES_AN_IMAGE))
    return settings


def list_photos(folder: Path) -> dict[str, list[Path]]:
    """Photos by person, of people whose name no calibration uses. Raises SettingError."""
    from matcher.calibration import is_calibration_name

    if not folder.is_dir():
        raise SettingError(f"--faces: no folder {folder}", mend="give a folder with one folder a person")
    people = {
        person.name: sorted(path for path in person.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        for person in sorted(folder.iterdir())
        if person.is_dir() and not is_calibration_name(person.name)
    }
    return {name: files for name, files in people.items() if files}


def check_enough(photos: dict[str, list[Path]], people: int, images: int) -> None:
    several = sum(len(files) > 1 for files in photos.values())
    total = sum(len(files) for files in photos.values())
    if not 0 < people <= several:
        raise SettingError(
            f"--people {people}: {several} people with two or more photos are left after the calibration's half",
            mend=f"ask for 1 to {several}",
        )
    if not 0 < images <= total - people:
        raise SettingError(
            f"--images {images}: {total - people} photos are there", mend=f"ask for at most {total - people}"
        )
