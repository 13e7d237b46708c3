-- Files are named relative to the state folder, so that they are found when it was moved.
update bundle set file = 'bundles/' || regexp_replace(file, '^.*/', '') where file is not null;

-- The folder in which a message was written.
alter table delivery add column folder text;

-- What an erasure has removed so far, and what it looked for in vain.
alter table erasure add column erased jsonb not null default '{}';

-- The folder of blobs that belongs to this database holds a file with this name.
alter table deployment add column blobs_id uuid;

-- A step that cannot work for a reason that says nothing of any row. One row a step and machine.
create table pause (
    step        text not null,
    host        text not null,
    code        text not null,
    reason      text not null,
    since       timestamptz not null default clock_timestamp(),
    again_at    timestamptz not null,
    primary key (step, host)
);
