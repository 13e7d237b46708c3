-- Pictures and archives can be written back as WARC records, rendered pages have the answer they were drawn from and a
-- screenshot, and what still needs a blob is asked in one place.

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
create index blob_capture_shows on blob_capture (shows);
create index blob_capture_sha256 on blob_capture (sha256);
create index listing_version_capture on listing_version (capture_id);

create view needed_blob as
    select sample.sha256 from sample left join face using (sample_id)
    where sample.state in ('ready', 'running') or face.state in ('ready', 'running')
       or face.outcome in ('matched', 'held')
    union all
    select blob_capture.sha256 from blob_capture
    where shows is not null and (keep_until > now() or exists (
        select 1 from listing_version join sample using (listing_id) left join face using (sample_id)
        where listing_version.capture_id = shows
          and (sample.state in ('ready', 'running') or face.state in ('ready', 'running')
               or face.outcome in ('matched', 'held'))));
