-- Pictures and archives can be written back as WARC records, rendered pages have the answer they were drawn from and a
-- screenshot.

alter table capture add column drawn_from bigint references capture;

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
create index listing_version_capture on listing_version (capture_id);
