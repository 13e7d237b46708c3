-- Sessions that a person made and imported as cookies, one a card; erasing the key erases them.

alter table key
    drop constraint key_kind_check,
    add constraint key_kind_check check (kind in ('blob', 'subject', 'login'));

create table login (
    name        text primary key,
    key_id      uuid not null unique references key,
    sealed      bytea not null,
    cookies     integer not null,
    imported_by text not null,
    imported_at timestamptz not null default now(),
    expires_at  timestamptz
);
