"""A refusal on its way out of the box, for pictures and archives alike."""


class Refused(Exception):
    """A refusal code of `vault/errors.py`, and a word about the bytes."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code, self.text = code, text
