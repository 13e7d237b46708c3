-- What somebody asked for by an address: written for every address alike, enrolled or not, and answered later by a worker.
create table request (
    request_id  bigint generated always as identity primary key,
    kind        text not null check (kind in ('link')),
    digest      text not null,
    network     text not null,
    asked_at    timestamptz not null default clock_timestamp(),
    answered_at timestamptz
);
create index request_network on request (network, asked_at);
create index request_waiting on request (asked_at) where answered_at is null;
create index request_answered on request (asked_at) where answered_at is not null;

-- What a form must carry follows from the session's own token, of which only the digest is kept.
alter table session drop column form_token;
