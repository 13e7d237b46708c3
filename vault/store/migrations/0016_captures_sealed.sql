-- Page captures are sealed, each record under a key of its own.

alter table key drop constraint key_kind_check;
alter table key add constraint key_kind_check check (kind in ('blob', 'subject', 'login', 'capture'));

alter table capture add column key_id uuid unique references key;

create table warc_info (
    warc_file   text primary key,
    key_id      uuid not null unique references key,
    length      bigint not null
);
