-- The whole schema, for people to read. migrations/ is the way there; a test proves both end at the same database.
-- Written for PostgreSQL 15. Times are timestamptz; ids that leave the house are uuids; digests are lower-case hex.

-- Work as rows: `state` drives each step. A claim raises `attempts`, sets a lease and takes a fencing token; results and
-- the next state are written in one transaction that still holds the token. Five attempts, then quarantine. `not_before`:
-- of a ready row, from when on it may be tried; of a quarantined one, since when it is.
create domain work_state as text check (value in ('ready', 'running', 'done', 'quarantined'));
create sequence fencing_token;

-- What this database belongs to: a key file that does not match is refused. `blobs_id`: stands in a file of the folder
-- of blobs that belongs to it, so that an empty or foreign folder is told from one in which a blob is missing. `kind`: a
-- demo or bench has approvers of its own and refuses everything of other people. `first_approver_at`: there is no second
-- first one. `mac`: of these three and the key, by the key file; empty in a database that was made before.
create table deployment (
    only_row    boolean primary key default true check (only_row),
    public_key  text not null,
    created_at  timestamptz not null default now(),
    blobs_id    uuid,
    kind        text not null default 'own' check (kind in ('own', 'demo')),
    first_approver_at timestamptz,
    mac         text not null default ''
);

-- A step that cannot work for a reason that says nothing of any row. One row a step and machine.
create table pause (
    step        text not null,
    host        text not null,
    code        text not null,
    reason      text not null,
    since       timestamptz not null default clock_timestamp(),
    again_at    timestamptz not null,
    primary key (step, host)
);

-- By how many seconds the database's clock is ahead of a machine's running time, so that a jump is seen.
create table clock_mark (
    boot        text primary key,
    ahead       double precision not null,
    marked_at   timestamptz not null default clock_timestamp()
);
-- Whose signature of a card or an enrolment counts, and from when. The first was let in by nobody, each further one by
-- one who was there (`signed_by`, `signature`). `mac`: of the row, by the key file; a row without a true one counts for
-- nothing. A removed one stays, for the signatures that let others in.
create table approver (
    public_key  text primary key,
    name        text not null,
    trusted_at  timestamptz not null,
    counts_from timestamptz not null,
    signed_by   text references approver,
    signature   text,
    removed_at  timestamptz,
    mac         text not null,
    check ((signed_by is null) = (signature is null))
);
create unique index approver_name on approver (name) where removed_at is null;

-- Data keys, wrapped by the key file. Erasing a key (wrapped = null) erases everything sealed with it.
create table key (
    key_id      uuid primary key,
    kind        text not null check (kind in ('blob', 'subject', 'login', 'capture')),
    wrapped     bytea,
    created_at  timestamptz not null default now(),
    erased_at   timestamptz,
    check ((wrapped is null) = (erased_at is not null))
);

-- Encrypted content, found by the SHA-256 of what is inside; each under a key of its own. It lies in a file named by its
-- key, or from `start` on in one that it shares with others.
create table blob (
    sha256      text primary key,
    key_id      uuid not null unique references key,
    size        bigint not null,
    created_at  timestamptz not null default now(),
    file_id     uuid,
    start       bigint not null default 0
);
create index blob_in_file on blob (file_id) where file_id is not null;

-- Files that hold many small blobs: how many were put in, how many are left. The file goes with the last.
create table blob_file (
    file_id     uuid primary key,
    count       integer not null,
    live        integer not null
);

-- Files in which every key is erased and which are still to be unlinked (they are unreadable already).
create table blob_litter (
    file_id     uuid primary key
);

-- `signers`: the public keys whose signature of the card counted when it was last read. `visibility`: who is told of what
-- is found, by these and `alone` (handed in, or read on this machine's loopback): see store/visibility.py.
-- `closed_places`: where it was read while it was not open; a card that does not name them all does not open it.
create table source (
    source_id       bigint generated always as identity primary key,
    name            text not null unique,
    card            text not null,
    card_sha256     text not null,
    policy          text not null check (policy in ('ephemeral', 'retro')),
    retention_days  integer not null default 0,
    state           text not null default 'active' check (state in ('active', 'paused')),
    reason          text not null default '',
    last_crawl_at   timestamptz,
    created_at      timestamptz not null default now(),
    cycle_at        timestamptz,
    health          text not null default 'new' check (health in
        ('new', 'ok', 'degraded', 'blocked', 'captcha', 'login_wall', 'empty', 'dead')),
    health_reason   text not null default '',
    health_since    timestamptz,
    health_page     bigint,  -- references page, see below
    visibility      text not null default 'labelled' check (visibility in ('open', 'labelled', 'private')),
    signers         text[] not null default '{}',
    alone           boolean not null default false,
    closed_places   text[] not null default '{}'
);

-- A login that a person made, as the cookies they imported for the card of this name, sealed under a key of its own.
-- `expires_at`: when its last cookie ends; null if one has no end.
create table login (
    name        text primary key,
    key_id      uuid not null unique references key,
    sealed      bytea not null,
    cookies     integer not null,
    imported_by text not null,
    imported_at timestamptz not null default now(),
    expires_at  timestamptz
);

-- The frontier. One row a canonical URL of a source, whatever it is. `found_on`: the page that first led there; `plain`:
-- it is a download, so it is fetched without a browser; `left_out`: pictures that lie in it and are too many to be kept.
create table page (
    page_id     bigint generated always as identity primary key,
    source_id   bigint not null references source,
    url         text not null,
    url_key     text not null,
    kind        text not null check (kind in ('page', 'image', 'archive')),
    depth       integer not null default 0,
    hops        integer not null default 0,
    status      integer,
    sha256      text,
    etag        text,
    modified    text,
    fetched_at  timestamptz,
    state       work_state not null default 'ready',
    attempts    integer not null default 0,
    token       bigint,
    lease_until timestamptz,
    not_before  timestamptz,
    error_code  text,
    error_text  text,
    next_at     timestamptz,
    check_hours real,
    moved_to    bigint references page,
    verdict     text not null default '',
    text_size   integer not null default 0,
    link_count  integer not null default 0,
    listing_count integer not null default 0,
    found_on    bigint references page,
    plain       boolean not null default false,
    left_out    integer not null default 0,
    unique (source_id, url_key)
);
alter table source add foreign key (health_page) references page;

-- Proof of a page as it was: a record of a WARC file, sealed under a key of its own (none: written before they were).
-- What a browser drew points to the answer it was drawn from.
create table capture (
    capture_id  bigint generated always as identity primary key,
    page_id     bigint not null references page,
    warc_file   text not null,
    warc_offset bigint not null,
    warc_length bigint not null,
    sha256      text not null,
    media_type  text not null,
    captured_at timestamptz not null,
    drawn_from  bigint references capture,
    key_id      uuid unique references key,
    pictures    integer not null default 0
);
create index capture_page on capture (page_id);
create index capture_pictures on capture (capture_id) where pictures > 0;

-- Which of the pictures that lie in a page (capture.pictures: how many) became samples. When none of them is needed any
-- more, the capture's key is erased.
create table capture_picture (
    capture_id  bigint not null references capture,
    sha256      text not null,
    primary key (capture_id, sha256)
);
create index capture_picture_sha256 on capture_picture (sha256);

-- The first record of a WARC file, sealed likewise.
create table warc_info (
    warc_file   text primary key,
    key_id      uuid not null unique references key,
    length      bigint not null
);

-- Proof of what was received into a blob: where it lay and the head of the answer (status line and headers), so that it
-- can be written back as a record of a WARC file. Or, with `shows`, the screenshot of a capture and how long it is kept.
create table blob_capture (
    blob_capture_id bigint generated always as identity primary key,
    page_id     bigint not null references page,
    sha256      text not null,
    head        text,
    shows       bigint references capture,
    keep_until  timestamptz,
    captured_at timestamptz not null,
    check ((head is null) = (shows is not null)),
    check ((keep_until is null) = (shows is null))
);
create index blob_capture_page on blob_capture (page_id);
create index blob_capture_shows on blob_capture (shows) where shows is not null;
create index blob_capture_kept on blob_capture (keep_until) where keep_until is not null;
create index blob_capture_sha256 on blob_capture (sha256);

-- Listings whose samples overlap are one. A dataset that was merged into an older one is gone; dataset_link says why.
create table dataset (
    dataset_id  bigint generated always as identity primary key,
    created_at  timestamptz not null default now()
);

-- `passwords` are tried on its archives. Until `first_page_seen` its words are those of a further page of it.
create table listing (
    listing_id  bigint generated always as identity primary key,
    source_id   bigint not null references source,
    dataset_id  bigint not null references dataset,
    url         text not null,
    first_seen  timestamptz not null,
    last_seen   timestamptz not null,
    page_id     bigint references page,
    state       text not null default 'offered' check (state in ('offered', 'sold', 'removed', 'moved')),
    moved_to    bigint references listing,
    passwords   text[] not null default '{}',
    first_page_seen boolean not null default true,
    unique (source_id, url)
);
create index listing_at_page on listing (page_id);
create index listing_dataset on listing (dataset_id);

-- `unit_price` is of one face, in `currency`. counts, kinds, contacts and dates are lists of {what, value, text}.
create table listing_version (
    listing_id      bigint not null references listing,
    version         integer not null,
    capture_id      bigint not null references capture,
    title           text not null,
    seller          text not null,
    description     text not null,
    price_text      text not null,
    price           numeric,
    currency        text,
    claimed_text    text not null,
    claimed_count   bigint,
    invalid_fields  text[] not null,
    seen_at         timestamptz not null,
    changed         text[] not null default '{}',
    unit_price      numeric,
    claimed_people  bigint,
    language        text,
    counts          jsonb not null default '[]',
    kinds           jsonb not null default '[]',
    contacts        jsonb not null default '[]',
    dates           jsonb not null default '[]',
    primary key (listing_id, version)
);
create index listing_version_capture on listing_version (capture_id);

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

-- Which listings show or offer what lies at a page of kind image or archive.
create table listing_page (
    listing_id  bigint not null references listing,
    page_id     bigint not null references page,
    primary key (listing_id, page_id)
);
create index listing_page_page on listing_page (page_id);

-- `truncated`: the picture's file ends early or is damaged, and what is left was looked at; `faces_left_out`: how many of
-- its faces are more than are looked at in one picture.
create table sample (
    sample_id   bigint generated always as identity primary key,
    listing_id  bigint not null references listing,
    page_id     bigint not null references page,
    archive_id  bigint references sample,
    member      integer,
    kind        text not null check (kind in ('image', 'archive')),
    sha256      text,
    size        bigint not null,
    notice      text,
    width       integer,
    height      integer,
    received_at timestamptz not null default now(),
    state       work_state not null default 'ready',
    attempts    integer not null default 0,
    token       bigint,
    lease_until timestamptz,
    not_before  timestamptz,
    error_code  text,
    error_text  text,
    share_id    bigint not null references source,
    truncated   boolean not null default false,
    faces_left_out integer not null default 0,
    unique (listing_id, sha256),
    unique (archive_id, member)
);
create index sample_sha256 on sample (sha256);
create index sample_pending on sample (listing_id) where state in ('ready', 'running');

-- Each source (share_id) has its share of the work on samples, so that none is held up by another's backlog.
create function fill_source_of_sample() returns trigger language plpgsql as $$
begin
    select listing.source_id into new.share_id from listing where listing.listing_id = new.listing_id;
    return new;
end $$;
create trigger sample_has_source before insert on sample
    for each row when (new.share_id is null) execute function fill_source_of_sample();

-- Files that are no samples, by format (vault/formats.py): of a list of files, an export, a mail or an archive, whose
-- address is `place`.
create table passed_over (
    source_id   bigint not null references source,
    place       text not null,
    kind        text not null,
    files       integer not null check (files > 0),
    primary key (source_id, place, kind)
);

-- The perceptual hash of a picture (vault/phash.py), and its parts by which near ones are found. Pictures that are too
-- small or too flat have none and count for nothing when listings are compared.
create table picture_hash (
    sha256  text primary key,
    phash   bit(256) not null,
    bands   integer[] not null
);
create index picture_hash_bands on picture_hash using gin (bands) with (fastupdate = off);

-- Listings whose samples are to be compared with everybody else's. `again`: more came while that was done.
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

-- Why two datasets became one: this listing overlaps with that one (how many pictures they share, how many of them byte
-- for byte, in how many groups that look alike, how many did not count because too many datasets show them, how many
-- each has; see matcher/datasets.py), or took its place.
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

create table calibration (
    calibration_id  text primary key,
    pack            text not null,
    record          jsonb not null,
    created_at      timestamptz not null default now(),
    used            boolean not null default true
);

-- `length`: of the raw vector, by which scores are weighed; `yaw`: how far the face is turned; `exposure`: share of the
-- crop that is neither black nor white (see workers/faces/quality.py); `exact`: was the template made by a second look?
-- outcome `private`: found in material that one operator alone chose; what became of it only its person is told.
create table face (
    face_id     bigint generated always as identity primary key,
    sample_id   bigint not null references sample,
    ordinal     integer not null,
    x           real not null,
    y           real not null,
    width       real not null,
    height      real not null,
    landmarks   real[] not null,
    score       real not null,
    sharpness   real not null,
    pack        text not null,
    matrix_id   text not null,
    template    bytea,
    outcome     text check (outcome in ('matched', 'unmatched', 'low_quality', 'held', 'private')),
    expires_at  timestamptz,
    found_at    timestamptz not null default now(),
    state       work_state not null default 'ready',
    attempts    integer not null default 0,
    token       bigint,
    lease_until timestamptz,
    not_before  timestamptz,
    error_code  text,
    error_text  text,
    length      real,
    yaw         real,
    exposure    real,
    exact       boolean not null default true,
    unique (sample_id, ordinal)
);
create index face_expiry on face (expires_at) where template is not null;

-- People who asked to be told. Address and name are sealed under the subject's own key.
create table subject (
    subject_id      uuid primary key,
    key_id          uuid not null references key,
    address_digest  text unique,
    address_sealed  bytea,
    state           text not null default 'pending' check (state in ('pending', 'active', 'erased')),
    created_at      timestamptz not null default now(),
    hunts_from      timestamptz
);

-- Approvers who signed an enrolment. With two that count its person is searched among the faces kept before.
create table enrolment_signature (
    subject_id  uuid not null references subject,
    public_key  text not null references approver,
    signature   text not null,
    signed_at   timestamptz not null default now(),
    primary key (subject_id, public_key)
);

create table consent (
    consent_id      uuid primary key,
    subject_id      uuid not null references subject,
    wording         text not null,
    recorded_by     text not null,
    granted_at      timestamptz not null,
    confirmed_at    timestamptz
);
create unique index consent_subject on consent (subject_id);

-- A withdrawal waits for nobody's lock: it is a row of its own, with no key to any other.
create table withdrawal (
    withdrawal_id bigint generated always as identity primary key,
    subject_id  uuid not null,
    withdrawn_at timestamptz not null default clock_timestamp(),
    withdrawn_by text not null default 'subject'
);
create index withdrawal_subject on withdrawal (subject_id);

-- Consents by which a person may be searched and written to now.
create view live_consent as
    select consent_id, subject_id, granted_at, confirmed_at from consent
    where confirmed_at is not null
      and not exists (select from withdrawal where withdrawal.subject_id = consent.subject_id);

-- `picture`: what was handed in, sealed under the subject's key until the template is made; `sealed`: the keyed vector.
create table template (
    template_id bigint generated always as identity primary key,
    subject_id  uuid not null references subject,
    pack        text not null,
    picture     bytea,
    matrix_id   text,
    sealed      bytea,
    created_at  timestamptz not null default now(),
    state       work_state not null default 'ready',
    attempts    integer not null default 0,
    token       bigint,
    lease_until timestamptz,
    not_before  timestamptz,
    error_code  text,
    error_text  text
);
create index template_subject on template (subject_id);

-- A part of the index of harvested faces: a file that every worker folder can build anew from these rows. Its faces
-- expire between two times; `face_ids`: which they are, ascending, as little-endian int64.
create table segment (
    segment_id  bigint generated always as identity primary key,
    pack        text not null,
    matrix_id   text not null,
    faces       integer not null,
    face_ids    bytea not null,
    first_expires timestamptz not null,
    last_expires timestamptz not null,
    built_at    timestamptz not null default now()
);
create index segment_expiry on segment (first_expires);

-- Who may write a file that one process at a time writes: a lease, so that one that is stopped delays nobody for long.
create table writer (
    name        text primary key,
    state       work_state not null,
    token       bigint not null,
    lease_until timestamptz not null
);

-- Matched faces whose template is kept and that are in no segment yet.
create table fresh_face (
    face_id     bigint primary key references face,
    expires_at  timestamptz not null,
    since       timestamptz not null default now()
);

-- A template that became live is searched among the faces already known, once. `ended`: the person left meanwhile.
-- `fence`: claims of faces with a token below it may have looked at the gallery before the template was live.
create table hunt (
    hunt_id     bigint generated always as identity primary key,
    template_id bigint not null unique references template on delete cascade,
    state       text not null default 'running' check (state in ('running', 'paused', 'done', 'ended')),
    faces       bigint not null default 0,
    matches     integer not null default 0,
    created_at  timestamptz not null default now(),
    finished_at timestamptz,
    fence       bigint not null default 0
);

-- One a segment, and one without for the faces that are in none.
create table hunt_part (
    part_id     bigint generated always as identity primary key,
    hunt_id     bigint not null references hunt on delete cascade,
    segment_id  bigint references segment on delete cascade,
    state       work_state not null default 'ready',
    attempts    integer not null default 0,
    token       bigint,
    lease_until timestamptz,
    not_before  timestamptz,
    error_code  text,
    error_text  text,
    unique nulls not distinct (hunt_id, segment_id)
);
create index hunt_part_segment on hunt_part (segment_id);

-- Raised whenever who may be searched changes, so that searchers notice with one cheap query. Drawn from, never updated:
-- whoever changes that waits for nobody.
create sequence gallery_clock;

-- `label`: how operators call the person where the source is not open; a new one each time. `shown_from`: found by a
-- search of one person in many places, they come to operators at times that do not tell so.
create table alert (
    alert_id    uuid primary key,
    subject_id  uuid not null references subject,
    dataset_id  bigint not null references dataset,
    band        text not null check (band in ('possible', 'likely', 'strong')),
    state       text not null default 'open' check (state in ('open', 'reviewed', 'dismissed')),
    created_at  timestamptz not null default now(),
    label       text not null default left(replace(gen_random_uuid()::text, '-', ''), 8),
    shown_from  timestamptz not null default now(),
    unique (subject_id, dataset_id)
);
create index alert_dataset on alert (dataset_id);

-- What a person says of an alert: by themselves, or through an operator. `ledger` keeps that it was said and taken back.
create table judgement (
    alert_id    uuid primary key references alert on delete cascade,
    subject_id  uuid not null references subject,
    verdict     text not null check (verdict = 'not_me'),
    operator    text,
    judged_at   timestamptz not null default now()
);

-- A judged face: a probe that is nearer to it than to that person's own templates does not alert that person. `sealed`: the
-- keyed vector of a stranger, under the person's own key; it is searched for nowhere, and dropped on its day.
create table negative (
    negative_id bigint generated always as identity primary key,
    alert_id    uuid not null references judgement on delete cascade,
    subject_id  uuid not null references subject,
    face_id     bigint not null references face,
    expires_at  timestamptz not null,
    pack        text,
    matrix_id   text,
    sealed      bytea,
    state       work_state not null default 'ready',
    attempts    integer not null default 0,
    token       bigint,
    lease_until timestamptz,
    not_before  timestamptz,
    error_code  text,
    error_text  text,
    unique (subject_id, face_id)
);
create index negative_alert on negative (alert_id);
create index negative_expiry on negative (expires_at);

create table match (
    match_id        bigint primary key default floor(random() * 1099511627776)::bigint,
    face_id         bigint not null references face,
    subject_id      uuid not null references subject,
    template_id     bigint not null references template,
    consent_id      uuid not null references consent,
    calibration_id  text not null references calibration,
    alert_id        uuid references alert,
    pack            text not null,
    score           real not null,
    cut             real not null,
    band            text not null check (band in ('possible', 'likely', 'strong')),
    held            text check (held in ('hub_suspect', 'beyond_data', 'template_flood', 'dataset_flood', 'not_them')),
    matched_at      timestamptz not null default now(),
    negative_id     bigint references negative,
    unique (face_id, subject_id),
    check ((alert_id is null) = (held is not null)),
    constraint match_held_by check ((negative_id is not null) = (coalesce(held, '') = 'not_them'))
);
create index match_subject on match (subject_id);
create index match_alert on match (alert_id);
create index match_negative on match (negative_id) where negative_id is not null;

-- No match row without a live consent of the person it is about. A withdrawal that is committed while this transaction
-- runs is found by its last look (workers/match_faces.py), or by the erasure, which waits for older transactions.
create function refuse_match_without_consent() returns trigger language plpgsql as $$
begin
    perform 1 from live_consent where consent_id = new.consent_id and subject_id = new.subject_id;
    if not found then
        raise exception 'no live consent of subject %', new.subject_id using errcode = 'FW001';
    end if;
    return new;
end $$;
-- A match that only goes to another alert of the same person says nothing new about them.
create trigger match_needs_consent
    before insert or update of face_id, subject_id, template_id, consent_id, calibration_id, score, cut, band, held on match
    for each row execute function refuse_match_without_consent();

-- The outbox. What it says is made when it is sent, from the rows it points to. `folder`: where it was written, relative
-- to the state folder if it lies there. `covered_by`: the message in which the person was told of this too.
create table delivery (
    delivery_id uuid primary key,
    subject_id  uuid not null references subject,
    alert_id    uuid references alert on delete cascade,
    kind        text not null check (kind in ('confirmation', 'alert', 'receipt', 'link')),
    created_at  timestamptz not null default now(),
    sent_at     timestamptz,
    state       work_state not null default 'ready',
    attempts    integer not null default 0,
    token       bigint,
    lease_until timestamptz,
    not_before  timestamptz,
    error_code  text,
    error_text  text,
    folder      text,
    covered_by  uuid references delivery
);
create unique index delivery_alert on delivery (alert_id) where kind = 'alert';
create index delivery_subject on delivery (subject_id);
-- However many ask for a link at once, one message waits.
create unique index delivery_link on delivery (subject_id) where kind = 'link' and state in ('ready', 'running');

-- What somebody asked for by an address: written for every address alike, enrolled or not, and answered later by a worker.
-- `digest` and `network`: keyed digests of the address and of where the request came from (a /24 or a /56), by which
-- requests are limited. A row is gone within a minute of being answered.
create table request (
    request_id  bigint generated always as identity primary key,
    kind        text not null check (kind in ('link')),
    digest      text not null,
    network     text not null,
    asked_at    timestamptz not null default clock_timestamp(),
    answered_at timestamptz
);
create index request_network on request (network, asked_at);
create index request_waiting on request (asked_at) where answered_at is null;
create index request_answered on request (asked_at) where answered_at is not null;

-- `file`: relative to the state folder. A bundle is of its case as it was; an alert that grew has another `version`, and of
-- two alerts that became one the bundles are one list. `replaced`: another one was asked for later; this one is kept.
-- `why`: by whoever asked, or how it grew. `case_sha256`: of what the bundle says, null before versions were kept; `holds`:
-- how much of it there was.
create table bundle (
    bundle_id   uuid primary key,
    alert_id    uuid not null references alert on delete cascade,
    asked_by    text not null,
    file        text,
    sha256      text,
    created_at  timestamptz not null default now(),
    sealed_at   timestamptz,
    state       work_state not null default 'ready',
    attempts    integer not null default 0,
    token       bigint,
    lease_until timestamptz,
    not_before  timestamptz,
    error_code  text,
    error_text  text,
    replaced    boolean not null default false,
    version     integer not null default 1,
    why         text not null default '',
    case_sha256 text,
    holds       jsonb not null default '{}'
);
create unique index bundle_alert on bundle (alert_id) where not replaced;
create index bundle_alert_id on bundle (alert_id);

-- One row a person who left: the erasure that runs everywhere. `fenced_at`: since when it waits for older transactions
-- to end, which may not have seen the withdrawal. `erased`: what was removed so far, and what was looked for in vain.
create table erasure (
    subject_id  uuid primary key references subject,
    asked_at    timestamptz not null default now(),
    state       work_state not null default 'ready',
    attempts    integer not null default 0,
    token       bigint,
    lease_until timestamptz,
    not_before  timestamptz,
    error_code  text,
    error_text  text,
    fenced_at   timestamptz,
    erased      jsonb not null default '{}'
);

-- Signed proofs of erasure. They name nobody: the person holds the id.
create table receipt (
    receipt_id  uuid primary key,
    subject_id  uuid not null unique references subject,
    body        text not null,
    signature   text not null,
    created_at  timestamptz not null default now()
);

-- The two ways a row is claimed (see store/work.py): never tried, or tried before.
create index page_fresh on page (source_id, page_id) where state = 'ready' and attempts = 0;
create index page_tried on page (source_id, page_id) where attempts > 0 and state in ('ready', 'running');
create index sample_fresh on sample (kind, share_id, sample_id) where state = 'ready' and attempts = 0;
create index sample_tried on sample (kind, sample_id) where attempts > 0 and state in ('ready', 'running');
create index linking_fresh on linking (listing_id) where state = 'ready' and attempts = 0;
create index linking_tried on linking (listing_id) where attempts > 0 and state in ('ready', 'running');
create index face_fresh on face (face_id) where state = 'ready' and attempts = 0;
create index face_tried on face (face_id) where attempts > 0 and state in ('ready', 'running');
create index template_fresh on template (template_id) where state = 'ready' and attempts = 0;
create index template_tried on template (template_id) where attempts > 0 and state in ('ready', 'running');
create index negative_fresh on negative (negative_id) where state = 'ready' and attempts = 0;
create index negative_tried on negative (negative_id) where attempts > 0 and state in ('ready', 'running');
create index hunt_part_fresh on hunt_part (part_id) where state = 'ready' and attempts = 0;
create index hunt_part_tried on hunt_part (part_id) where attempts > 0 and state in ('ready', 'running');
create index delivery_fresh on delivery (delivery_id) where state = 'ready' and attempts = 0;
create index delivery_tried on delivery (delivery_id) where attempts > 0 and state in ('ready', 'running');
create index bundle_fresh on bundle (bundle_id) where state = 'ready' and attempts = 0;
create index bundle_tried on bundle (bundle_id) where attempts > 0 and state in ('ready', 'running');
create index erasure_fresh on erasure (subject_id) where state = 'ready' and attempts = 0;
create index erasure_tried on erasure (subject_id) where attempts > 0 and state in ('ready', 'running');

-- The ledger. Rows are written unchained with the work they speak of; the sequencer gives them their place.
create table ledger (
    ledger_id   bigint generated always as identity primary key,
    about       text not null,
    entry       text not null,
    leaf        text,
    position    bigint unique
);
create index ledger_about on ledger (about);
create index ledger_unchained on ledger (ledger_id) where position is null;

create table ledger_head (
    tree_size   bigint primary key,
    root        text not null,
    frontier    text[] not null,
    signed_at   timestamptz not null,
    signature   text not null
);

-- Rows of the ledger are only ever added, and placed once.
create function refuse_ledger_change() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and old.position is null and (new.ledger_id, new.about, new.entry) = (old.ledger_id, old.about, old.entry) then
        return new;
    end if;
    raise exception 'the ledger is append-only' using errcode = 'FW002';
end $$;
create trigger ledger_is_append_only before update or delete on ledger
    for each row execute function refuse_ledger_change();

-- Who may look. Links are shown once, kept as digests, used once.
create table link (
    token_sha256    text primary key,
    purpose         text not null check (purpose in ('confirm', 'subject', 'operator')),
    subject_id      uuid references subject,
    operator        text,
    expires_at      timestamptz not null,
    used_at         timestamptz,
    check ((subject_id is null) <> (operator is null))
);

create table session (
    token_sha256    text primary key,
    subject_id      uuid references subject,
    operator        text,
    expires_at      timestamptz not null,
    check ((subject_id is null) <> (operator is null))
);

-- What the row of a face may say of its outcome: where the source is private the same for everybody, where it is labelled
-- nothing of what is held.
create function told_outcome(visibility text, outcome text) returns text language sql immutable as $$
    select case when visibility = 'open' or outcome = 'low_quality' then outcome
                when visibility = 'private' then 'private'
                when outcome = 'held' then 'unmatched'
                else outcome end
$$;

-- The datasets that hold a listing of a source that is not open.
create view closed_dataset as
    select listing.dataset_id, source.source_id, source.visibility
    from listing join source using (source_id)
    where source.visibility <> 'open';

-- The alerts that operators may see: under their person's digest where every source of the dataset is open, else under a
-- label; none where one of them is private.
create view shown_alert as
    select alert_id, subject_id, dataset_id, band, state, created_at, label, shown_from, is_open
    from (select alert.*, not exists (
              select from closed_dataset where closed_dataset.dataset_id = alert.dataset_id) as is_open
          from alert) as each
    where is_open or (shown_from <= now() and not exists (
        select from closed_dataset where closed_dataset.dataset_id = each.dataset_id and visibility = 'private'));

-- The matches behind them; of those that are held, which are of no alert, only those of open datasets.
create view shown_match as
    select match_id, face_id, alert_id, band, held from match
    where exists (select from shown_alert where shown_alert.alert_id = match.alert_id)
       or (alert_id is null and not exists (
           select from face join sample using (sample_id) join listing using (listing_id) join closed_dataset using (dataset_id)
           where face.face_id = match.face_id));

-- The messages and judged faces that operators may count: when somebody is told, or judges, joins what a label keeps apart.
create view shown_delivery as
    select delivery_id, alert_id, kind, state from delivery
    where kind <> 'alert' or exists (
        select from shown_alert where shown_alert.alert_id = delivery.alert_id and is_open);
create view shown_negative as
    select negative_id, alert_id, state, expires_at, sealed is not null as made from negative
    where exists (select from shown_alert where shown_alert.alert_id = negative.alert_id and is_open);
