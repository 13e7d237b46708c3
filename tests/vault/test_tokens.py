"""Tokens: nobody guesses one, only digests are kept, and no line of a log shows one, whoever writes it."""

import json
import subprocess
import sys

import pytest

from cli.supervisor import ROOT
from vault.tokens import derive_token, hash_token, hide_tokens, make_token

TOKEN = make_token()
SAY = (
    "import logging, sys; from vault.log import *; set_up_logging('test', to=sys.stderr); "
    "log = get_logger('x'); token = {!r}; "
)


def run(code: str) -> str:
    """What a process of ours writes to its log that runs this."""
    argv = [sys.executable, "-P", "-c", SAY.format(TOKEN) + code]
    done = subprocess.run(argv, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False)
    return done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "log.warning('gone', path=f'/me/enter/{token}')",
        "log.warning('gone', query={'a': [token, token.encode()]})",
        "log.warning(f'at {token}')",
        "logging.getLogger('uvicorn.error').error('%s %r', token, (token,))",
        "logging.getLogger('celery').error('failed', extra={'data': token})",
        "exec('try: raise ValueError(token)\\nexcept ValueError: log.exception(\"failed\")')",
        "exec('try: open(token)\\nexcept OSError: logging.exception(token)')",
        "log.warning('gone', object=type('Thing', (), {'__repr__': lambda self: token})())",
    ],
)
def test_no_line_of_a_log_shows_a_token(code: str) -> None:
    told = run(code)
    (line,) = told.splitlines()
    assert json.loads(line)["level"] in ("warning", "error")
    assert "fwt_..." in line or "extra" in code
    assert TOKEN not in told
    assert TOKEN.removeprefix("fwt_") not in told


def test_tokens_are_long_all_different_and_of_letters_that_mean_nothing() -> None:
    many = {make_token() for _ in range(1000)}
    assert len(many) == 1000
    assert all(len(each) >= 43 and each.replace("_", "").replace("-", "").isalnum() for each in many)


def test_a_derived_token_tells_nothing_of_the_first_and_is_another_for_each_purpose() -> None:
    made = {derive_token(token, purpose) for token in (TOKEN, make_token()) for purpose in ("form", "other")}
    assert len({TOKEN, *made, hash_token(TOKEN)}) == 6
    assert derive_token(TOKEN, "form") == derive_token(TOKEN, "form")
    assert len(derive_token(TOKEN, "form")) == len(TOKEN)


@pytest.mark.parametrize("text", ["", "no token", "a fwt_ alone", "\n" * 3])
def test_what_holds_no_token_stays_as_it_is(text: str) -> None:
    assert hide_tokens(text) == text
