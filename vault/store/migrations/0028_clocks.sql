-- By how many seconds the database's clock is ahead of a machine's running time, so that a jump is seen.
create table clock_mark (
    boot        text primary key,
    ahead       double precision not null,
    marked_at   timestamptz not null default clock_timestamp()
);
