"""Messages to people: who asks stands in each, and nobody is flooded."""

import datetime as dt
import email
import email.policy
import email.utils

import pytest

from cli.commands.enrol import enrol
from tests.samples import add_sample, count, enrol_person, make_listing, portrait, run_steps
from vault.errors import EnrolmentError
from vault.settings import Organisation
from vault.store.requests import LINK_MINUTES, ask_links
from vault.store.subjects import digest_address
from workers.context import Context
from workers.deliver import deliver


def list_mails(context: Context, words: str) -> list[email.message.EmailMessage]:
    found = [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        for path in sorted(context.settings.mail_folder.glob("*.eml"))
    ]
    return [mail for mail in found if words in str(mail["Subject"])]


def find(context: Context, *names: str) -> None:
    """The person turns up in a dataset of each of these names."""
    for name in names:
        add_sample(context, make_listing(context.conn, name), portrait("astronaut", 60 + len(name)))
    run_steps(context)


@pytest.fixture
def hourly(context: Context) -> Context:
    context.settings = context.settings.replace("delivery", alert_minutes=60)
    return context


@pytest.mark.parametrize(("minutes", "messages"), [(60, 1), (0, 20)])
def test_many_finds_at_once_are_one_message(context: Context, minutes: int, messages: int) -> None:
    """But where no limit is set, which is for demonstrations."""
    context.settings = context.settings.replace("delivery", alert_minutes=minutes)
    enrol_person(context, "astronaut")
    find(context, *(f"market-{number}" for number in range(20)))
    assert count(context.conn, "select count(*) from alert") == 20
    assert len(list_mails(context, "something you should see")) == messages
    assert count(context.conn, "select count(*) from delivery where kind = 'alert' and state = 'done'") == 20
    assert count(context.conn, "select count(*) from delivery where covered_by is not null") == 20 - messages


def test_finds_of_the_next_hour_wait_and_are_one_message_then(hourly: Context) -> None:
    conn = hourly.conn
    enrol_person(hourly, "astronaut")
    find(hourly, "first")
    find(hourly, "second", "third-one")
    assert len(list_mails(hourly, "something you should see")) == 1
    rows = conn.execute("select state, attempts from delivery where kind = 'alert' and sent_at is null").fetchall()
    assert rows == [("ready", 0)] * 2, "they wait, and are not charged"
    assert deliver(hourly) == 0
    conn.execute("update delivery set sent_at = sent_at - interval '61 minutes', not_before = null")
    run_steps(hourly)
    assert len(list_mails(hourly, "something you should see")) == 2
    assert count(conn, "select count(*) from delivery where kind = 'alert' and state = 'done'") == 3


def test_links_and_receipts_do_not_wait(hourly: Context) -> None:
    enrol_person(hourly, "astronaut")
    find(hourly, "first")
    with hourly.conn.transaction():
        ask_links(hourly.conn, [digest_address(hourly.keys, "astronaut@test.example")])
    hourly.conn.execute("update delivery set not_before = null where kind = 'link'")
    deliver(hourly)
    assert len(list_mails(hourly, "the link you asked for")) == 1
    assert LINK_MINUTES < 60


def test_a_person_who_is_told_less_often_delays_nobody_else(hourly: Context) -> None:
    enrol_person(hourly, "astronaut")
    find(hourly, "first")
    enrol_person(hourly, "t1-1")
    add_sample(hourly, make_listing(hourly.conn, "second"), portrait("t1-1", 60))
    find(hourly, "third-one")
    assert {str(mail["To"]) for mail in list_mails(hourly, "something you should see")} == {
        "astronaut@test.example",
        "t1-1@test.example",
    }


def test_every_message_names_who_runs_this_and_has_a_date(context: Context) -> None:
    enrol_person(context, "astronaut", confirmed=False)
    deliver(context)
    (mail,) = list_mails(context, "confirm")
    part = mail.get_body()
    assert part is not None
    text = str(part.get_content())
    for each in ("Test Bank runs this", "privacy@bank.example", "https://bank.example/privacy"):
        assert each in text
    sent = email.utils.parsedate_to_datetime(str(mail["Date"]))
    assert abs((dt.datetime.now(dt.UTC) - sent).total_seconds()) < 60


def test_nobody_enrols_who_is_not_told_who_asks(context: Context) -> None:
    settings = context.settings.replace("organisation", contact="")
    with pytest.raises(EnrolmentError) as caught:
        enrol(context.conn, context.keys, settings, "a@test.example", portrait("astronaut"), recorded_by="test")
    assert caught.value.stable_code == "organisation_unnamed"
    for line in ("[organisation]", "name =", "contact =", "privacy_url ="):
        assert line in caught.value.mend
    assert count(context.conn, "select count(*) from subject") == 0


@pytest.mark.parametrize(
    "wrong", [{"privacy_url": "javascript:alert(1)"}, {"name": "two\nlines"}, {"contact": "x" * 201}]
)
def test_an_organisation_that_could_not_be_shown_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        Organisation(**wrong)
