-- What of a picture was not looked at, and what lay beside pictures and was passed over.

alter table sample add column truncated boolean not null default false;
alter table sample add column faces_left_out integer not null default 0;

create table passed_over (
    source_id   bigint not null references source,
    place       text not null,
    kind        text not null,
    files       integer not null check (files > 0),
    primary key (source_id, place, kind)
);
