-- What a listing says besides its title and price, each with the text it came from; the price of one face; passwords
-- of its archives; and that the pages of one thread are one listing, which only its first page describes.

alter table listing
    add column passwords text[] not null default '{}',
    add column first_page_seen boolean not null default true;
alter table listing_version
    add column unit_price numeric,
    add column claimed_people bigint,
    add column language text,
    add column counts jsonb not null default '[]',
    add column kinds jsonb not null default '[]',
    add column contacts jsonb not null default '[]',
    add column dates jsonb not null default '[]';
