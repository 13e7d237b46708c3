-- Harvested faces that are kept are searched for whoever enrols later.

-- A part of the index of harvested faces: a file that every worker folder can build anew from these rows. Its faces
-- expire between two times; `face_ids`: which they are, ascending, as little-endian int64.
create table segment (
    segment_id  bigint generated always as identity primary key,
    pack        text not null,
    matrix_id   text not null,
    faces       integer not null,
    face_ids    bytea not null,
    first_expires timestamptz not null,
    last_expires timestamptz not null,
    built_at    timestamptz not null default now()
);
create index segment_expiry on segment (first_expires);

-- Matched faces whose template is kept and that are in no segment yet.
create table fresh_face (
    face_id     bigint primary key references face,
    expires_at  timestamptz not null,
    since       timestamptz not null default now()
);

-- A template that became live is searched among the faces already known, once. `ended`: the person left meanwhile.
create table hunt (
    hunt_id     bigint generated always as identity primary key,
    template_id bigint not null unique references template on delete cascade,
    state       text not null default 'running' check (state in ('running', 'paused', 'done', 'ended')),
    faces       bigint not null default 0,
    matches     integer not null default 0,
    created_at  timestamptz not null default now(),
    finished_at timestamptz
);

-- One a segment, and one without for the faces that are in none.
create table hunt_part (
    part_id     bigint generated always as identity primary key,
    hunt_id     bigint not null references hunt on delete cascade,
    segment_id  bigint references segment on delete cascade,
    state       work_state not null default 'ready',
    attempts    integer not null default 0,
    token       bigint,
    lease_until timestamptz,
    not_before  timestamptz,
    error_code  text,
    error_text  text,
    unique nulls not distinct (hunt_id, segment_id)
);
create index hunt_part_segment on hunt_part (segment_id);
create index hunt_part_fresh on hunt_part (part_id) where state = 'ready' and attempts = 0;
create index hunt_part_tried on hunt_part (part_id) where attempts > 0 and state in ('ready', 'running');

insert into fresh_face (face_id, expires_at)
select face_id, expires_at from face where template is not null and state = 'done' and expires_at is not null;
