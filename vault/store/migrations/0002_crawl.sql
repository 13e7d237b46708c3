-- What the crawler knows of each page and source: when to look again, what a page was judged to be, how a source is,
-- and the life of a listing.

alter table source
    add column cycle_at         timestamptz,
    add column health           text not null default 'new' check (health in
        ('new', 'ok', 'degraded', 'blocked', 'captcha', 'login_wall', 'empty', 'dead')),
    add column health_reason    text not null default '',
    add column health_since     timestamptz,
    add column health_page      bigint references page;

alter table page
    add column next_at      timestamptz,
    add column check_hours  real,
    add column moved_to     bigint references page,
    add column verdict      text not null default '',
    add column text_size    integer not null default 0,
    add column link_count   integer not null default 0,
    add column listing_count integer not null default 0;

alter table listing
    add column page_id      bigint references page,
    add column state        text not null default 'offered' check (state in ('offered', 'sold', 'removed', 'moved')),
    add column moved_to     bigint references listing;
update listing set page_id = (
    select page_id from listing_version join capture using (capture_id)
    where listing_version.listing_id = listing.listing_id order by version desc limit 1);
create index listing_at_page on listing (page_id);

alter table listing_version
    add column changed      text[] not null default '{}';

-- What happened to a listing, each with the capture that shows it.
create table listing_event (
    event_id    bigint generated always as identity primary key,
    listing_id  bigint not null references listing,
    kind        text not null check (kind in ('new', 'changed', 'sold', 'removed', 'back', 'moved')),
    capture_id  bigint references capture,
    detail      text not null default '',
    at          timestamptz not null default now()
);
create index listing_event_listing on listing_event (listing_id);
