-- Small blobs lie together in files; what a face is worth, and whether its vector may decide, is kept with it.

alter table blob add column file_id uuid, add column start bigint not null default 0;
create index blob_in_file on blob (file_id) where file_id is not null;

create table blob_file (
    file_id     uuid primary key,
    count       integer not null,
    live        integer not null
);

-- made anew, since it names files now, not keys
create temporary table litter on commit drop as select key_id from blob_litter;
drop table blob_litter;
create table blob_litter (
    file_id     uuid primary key
);
insert into blob_litter (file_id) select key_id from litter;

alter table face add column yaw real, add column exposure real,
                 add column exact boolean not null default true;
