-- Small blobs lie together in packs; what a face is worth, and whether its vector may decide, is kept with it.

alter table blob add column file_id uuid, add column start bigint not null default 0;
create index blob_file on blob (file_id) where file_id is not null;

create table pack (
    file_id     uuid primary key,
    count       integer not null,
    live        integer not null
);

alter table blob_litter rename column key_id to file_id;

alter table face add column yaw real, add column exposure real,
                 add column exact boolean not null default true;
