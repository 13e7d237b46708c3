-- Page captures are sealed, each record under a key of its own, and go with the pictures that lie in them.

alter table key drop constraint key_kind_check;
alter table key add constraint key_kind_check check (kind in ('blob', 'subject', 'login', 'capture'));

alter table capture add column key_id uuid unique references key, add column pictures integer not null default 0;
create index capture_pictures on capture (capture_id) where pictures > 0;

create table capture_picture (
    capture_id  bigint not null references capture,
    sha256      text not null,
    primary key (capture_id, sha256)
);
create index capture_picture_sha256 on capture_picture (sha256);

alter table page add column found_on bigint references page, add column plain boolean not null default false,
                 add column left_out integer not null default 0;

create table warc_info (
    warc_file   text primary key,
    key_id      uuid not null unique references key,
    length      bigint not null
);
