-- What a person says of an alert, and what is kept so that the faces they judged do not alert them again.

create table judgement (
    alert_id    uuid primary key references alert on delete cascade,
    subject_id  uuid not null references subject,
    verdict     text not null check (verdict = 'not_me'),
    operator    text,
    judged_at   timestamptz not null default now()
);

create table negative (
    negative_id bigint generated always as identity primary key,
    alert_id    uuid not null references judgement on delete cascade,
    subject_id  uuid not null references subject,
    face_id     bigint not null references face,
    expires_at  timestamptz not null,
    pack        text,
    matrix_id   text,
    sealed      bytea,
    state       work_state not null default 'ready',
    attempts    integer not null default 0,
    token       bigint,
    lease_until timestamptz,
    not_before  timestamptz,
    error_code  text,
    error_text  text,
    unique (subject_id, face_id)
);
create index negative_alert on negative (alert_id);
create index negative_expiry on negative (expires_at);
create index negative_fresh on negative (negative_id) where state = 'ready' and attempts = 0;
create index negative_tried on negative (negative_id) where attempts > 0 and state in ('ready', 'running');

alter table match add column negative_id bigint references negative;
alter table match add constraint match_held_by check ((negative_id is not null) = (coalesce(held, '') = 'not_them'));
create index match_negative on match (negative_id) where negative_id is not null;
