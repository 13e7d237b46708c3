"""show the model packs, or add one by hand

example:
  ./facewarden models list
  ./facewarden models add insightface:buffalo_l --licence research-only --from buffalo_l.zip
"""

import argparse
from pathlib import Path

from cli.setup import require_deployment
from vault.errors import ModelError
from vault.settings import Settings
from vault.terminal import Grid, Screen, working
from workers.faces.packs import add_pack, list_packs, read_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="name, licence, digests of every pack")
    add = actions.add_parser("add", help="add a pack of insightface's, for research only")
    add.add_argument("name", help="insightface:<name>")
    add.add_argument("--licence", required=True, help="the licence you accept: research-only")
    add.add_argument("--from", dest="archive", type=Path, required=True, help="the zip of onnx files")


def run(args: argparse.Namespace, settings: Settings) -> int:
    console = Screen()
    if args.action == "add":
        if settings.faces.commercial:
            raise ModelError(
                "model_licence",
                f"{args.name} may be used for research only, and commercial = true",
                mend="use the pack opencv-zoo, or set commercial = false if this use is research",
            )
        if settings.models_folder.is_relative_to(settings.home):
            require_deployment(settings)
        with working("reading and checking the models"):
            pack = add_pack(settings, args.name, args.licence, args.archive)
        console.print(f"added {pack.name}: {pack.licence}; use it with [faces] pack = {pack.name!r}")
        return 0
    table = Grid("pack", "in use", "commercial", "d", "files")
    for pack in list_packs(settings):
        try:
            read_model(pack.detector)
            read_model(pack.recogniser)
            files = "as expected"
        except ModelError as exc:
            files = exc.stable_code
        table.add_row(
            pack.name,
            "yes" if pack.name == settings.faces.pack else "",
            "yes" if pack.commercial else "no",
            str(pack.dimension),
            files,
        )
    console.print(table)
    for pack in list_packs(settings):
        console.print(f"{pack.name}: {pack.licence}")
        for what, model in (("detector", pack.detector), ("recogniser", pack.recogniser)):
            console.print(f"  {what:10} sha256 {model.sha256}")
    return 0
