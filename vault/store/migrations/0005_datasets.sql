-- Listings that sell the same set become one dataset: perceptual hashes of pictures, the work of comparing a listing's
-- with everybody else's, and why two datasets became one.

create table picture_hash (
    sha256  text primary key,
    phash   bit(256) not null,
    bands   integer[] not null
);
create index picture_hash_bands on picture_hash using gin (bands) with (fastupdate = off);

create table linking (
    listing_id  bigint primary key references listing,
    again       boolean not null default false,
    state       work_state not null default 'ready',
    attempts    integer not null default 0,
    token       bigint,
    lease_until timestamptz,
    not_before  timestamptz,
    error_code  text,
    error_text  text
);
create index linking_fresh on linking (listing_id) where state = 'ready' and attempts = 0;
create index linking_tried on linking (listing_id) where attempts > 0 and state in ('ready', 'running');
create index sample_pending on sample (listing_id) where state in ('ready', 'running');

create table dataset_link (
    link_id         bigint generated always as identity primary key,
    listing_id      bigint not null references listing,
    other_id        bigint not null references listing,
    kept_id         bigint not null,
    merged_id       bigint not null,
    reason          text not null check (reason in ('overlap', 'moved')),
    shared          integer not null default 0,
    exact           integer not null default 0,
    groups          integer not null default 0,
    common          integer not null default 0,
    listing_size    integer not null default 0,
    other_size      integer not null default 0,
    joined_at       timestamptz not null default now()
);
create index dataset_link_listing on dataset_link (listing_id);
create index dataset_link_merged on dataset_link (merged_id);

create index listing_dataset on listing (dataset_id);
create index alert_dataset on alert (dataset_id);

-- Two alerts that become one may both have evidence: the one asked for last is the alert's, the other is kept.
alter table bundle
    drop constraint bundle_alert_id_key,
    add column replaced boolean not null default false;
create unique index bundle_alert on bundle (alert_id) where not replaced;
create index bundle_alert_id on bundle (alert_id);

-- A match that only goes to another alert of the same person says nothing new about them.
drop trigger match_needs_consent on match;
create trigger match_needs_consent
    before insert or update of face_id, subject_id, template_id, consent_id, calibration_id, score, cut, band, held on match
    for each row execute function refuse_match_without_consent();
