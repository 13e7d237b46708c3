"""Every error Facewarden raises on purpose, drawn as one tree.

FacewardenError                 anything a person is told in one line, with what to do about it
├── SettingError                a setting is missing, unknown or of the wrong kind
├── DeploymentMissing           nothing was set up in this state folder or database: `up` or `demo` does that
├── CardError                   a source card is invalid, expired, missing or not approved
├── ServerError                 PostgreSQL or Redis cannot be started or reached, a port is taken
├── StoreError                  the database refused: migration, schema, disk full
│   ├── LeaseLost               the rows are no longer ours: somebody else has claimed them
│   ├── ConsentMissing          a row about a person was refused for want of a live consent
│   └── JudgementGone           a match is held by a judgement that was taken back meanwhile
├── KeyFileError                the key file is missing, readable by others, damaged, or the key was erased
├── BlobError                   an encrypted blob is missing, cut short or changed
├── Unavailable                 something that every row needs is away: it says nothing of any of them
├── ModelError                  a model file is missing, has another digest, or may not be used
├── IndexFileError              an index generation is missing, cut short or changed
├── VectorError                 a vector that may not be indexed: not finite, not unit, wrong length
├── CalibrationError            a calibration record is missing or damaged
├── EgressRefused               the guard refused a destination, or an answer that is none
├── InputRefused                hostile or unreadable bytes; `code` is one of REFUSALS
├── ApproverError               an approver cannot be let in, removed, or may not sign this
├── DeploymentError             this command is not for this kind of deployment, or its row was changed
├── EvidenceError               a bundle cannot be sealed
│   └── BundleTooLarge          it would hold more than its checker takes
├── LedgerError                 a head of the ledger cannot be read, written or found
├── JudgementError              an alert cannot be judged, or a judged face not be known again
└── EnrolmentError              an enrolment or withdrawal that cannot go on

Each class carries a stable `code`, shown to users and stored with the row. Classes that stand for several
cases take the code as their first argument.
"""

from typing import ClassVar

REFUSALS: dict[str, str] = {
    "image_too_large": "the header promises more pixels than the limit",
    "image_too_small": "no side of the picture could hold a face",
    "format_not_allowed": "not a JPEG, PNG, WebP, GIF or BMP",
    "image_too_costly": "decoding the picture would take too long: too many scans, passes or parts",
    "image_truncated": "the picture ends before anything of it can be shown",
    "image_corrupt": "the picture's data cannot be decoded",
    "body_empty": "nothing was sent",
    "body_too_large": "more bytes than the card allows",
    "decoder_died": "the decoder process was killed while it worked on this",
    "decoder_timeout": "the decoder took longer than the deadline",
    "decoder_memory": "the decoder asked for more memory than it may have",
    "archive_corrupt": "the archive cannot be read",
    "archive_unsupported": "an archive of a kind that is not opened",
    "archive_encrypted": "the archive asks for a password",
    "archive_password": "none of the passwords given opens the archive",
    "archive_memory": "unpacking the archive takes more memory than the box has",
    "archive_too_many_entries": "more entries than the card allows",
    "archive_too_large": "the archive unpacks to more bytes than allowed",
    "archive_ratio": "the archive unpacks to more than 100 times its size",
    "archive_overlap": "entries of the archive share the same bytes",
    "archive_nested": "an archive inside an archive",
    "archive_link": "a link or device inside an archive",
    "archive_name_unsafe": "a name that points outside; the name was ignored, the content was read",
    "hash_listed": "the digest is on a list of illegal pictures",
    "attempts_exhausted": "five attempts failed or never reported back",
}


class FacewardenError(Exception):
    """Base of the tree. `code` is stable; `mend` says what the reader can do."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, mend: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend

    @property
    def stable_code(self) -> str:
        return self.code


class _CodedError(FacewardenError):
    """An error class that stands for several cases; the case is its code."""

    def __init__(self, code: str, message: str = "", *, mend: str = "") -> None:
        super().__init__(message or REFUSALS.get(code, code), mend=mend)
        self.case = code

    @property
    def stable_code(self) -> str:
        return self.case

    def __str__(self) -> str:
        return f"{self.case}: {self.message}"


class SettingError(FacewardenError):
    code = "setting_invalid"


class DeploymentMissing(FacewardenError):
    code = "deployment_missing"


class CardError(_CodedError):
    """`card_invalid`, `card_expired`, `card_missing`, `card_unsigned`, `card_changed`, `card_untrusted`, `card_paused`,
    `card_busy`, `card_kind` (another command is for it), `handed_in` (there is nothing to read); and of approvers' keys
    `key_missing`, `key_exists`, `key_open`, `key_wrong`; of logins `session_not_allowed`, `session_missing`,
    `session_invalid`, `session_empty`."""


class ServerError(FacewardenError):
    code = "server_unavailable"


class DiskFull(ServerError):
    """A server has no room on its disk."""

    code = "disk_full"


class StoreError(FacewardenError):
    code = "store_refused"


class LeaseLost(StoreError):
    code = "lease_lost"


class ConsentMissing(StoreError):
    code = "consent_missing"


class JudgementGone(StoreError):
    code = "judgement_gone"


class KeyFileError(_CodedError):
    """`key_file_missing`, `key_file_open`, `key_file_damaged`, `key_erased`, `key_wrong`."""


class BlobError(_CodedError):
    """`blob_missing`, `blob_changed`, `blob_unreadable` (the disk fails at this file)."""


class Unavailable(_CodedError):
    """What every row of a step needs is away, so that step pauses and no row is charged: `blobs_away` (the folder of
    blobs cannot be read, or is another one), `captures_away` (the folder of captures is empty or cannot be read),
    `mail_folder` (it cannot be written), `ledger_busy` (another sequencer holds it), `clock_differs`,
    `clock_jumped`, `disk_full`."""


class ModelError(_CodedError):
    """`model_missing`, `model_digest_mismatch`, `model_licence`, `model_unknown`, `model_differs`, `model_archive`,
    `model_unwritten`, `runtime_missing`."""


class IndexFileError(_CodedError):
    """`index_missing`, `index_changed`, `index_other_pack`."""


class VectorError(_CodedError):
    """`vector_not_finite`, `vector_not_unit`, `vector_wrong_length`."""


class CalibrationError(FacewardenError):
    code = "calibration_invalid"


class EgressRefused(_CodedError):
    """`host_not_on_card`, `address_refused`, `port_refused`, `scheme_refused`, `url_refused`, `name_unknown`,
    `upstream_unavailable`, `budget_spent`."""


class InputRefused(_CodedError):
    """Hostile or unreadable bytes. The code is one of `REFUSALS`; the row keeps it. `seconds`: of CPU that it took to
    find out."""

    def __init__(self, code: str, message: str = "", *, seconds: float = 0.0) -> None:
        if code not in REFUSALS:
            raise ValueError(f"not a refusal code: {code}")
        super().__init__(code, message)
        self.seconds = seconds


class ApproverError(_CodedError):
    """`approver_invalid` (a name or key that is none), `approver_known` (the name or the key is taken, or was
    removed), `approver_needed` (one who is there has to sign), `approver_unknown`, `approver_waiting` (does not count
    yet), `approver_last`."""


class DeploymentError(_CodedError):
    """`deployment_demo` (a demo refuses everything of other people), `deployment_own` (no demo may run here),
    `deployment_changed` (its row was removed or changed without the key file)."""


class EvidenceError(FacewardenError):
    code = "evidence_invalid"


class BundleTooLarge(EvidenceError):
    code = "bundle_too_large"


class LedgerError(_CodedError):
    """`head_invalid` (a file holds no head), `head_exists` (heads are never overwritten), `head_missing` (nothing was
    signed yet)."""


class JudgementError(_CodedError):
    """`alert_unknown`, `alert_closed` (only its person may judge it), `hold_unknown`, `why_missing`, `face_gone`."""


class EnrolmentError(_CodedError):
    """`address_invalid`, `already_enrolled`, `subject_unknown`, `no_face`, `several_faces`, `face_unclear`,
    `photo_unreadable`, `photo_truncated`, `organisation_unnamed`, `not_confirmed`, `enrolment_limit` (as many as
    operators may)."""
