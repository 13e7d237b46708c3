-- Each source (share_id) has its share of the work on samples, so that none is held up by another's backlog.
alter table sample add column share_id bigint references source;
update sample set share_id = listing.source_id from listing where listing.listing_id = sample.listing_id;
alter table sample alter column share_id set not null;

create function fill_source_of_sample() returns trigger language plpgsql as $$
begin
    select listing.source_id into new.share_id from listing where listing.listing_id = new.listing_id;
    return new;
end $$;
create trigger sample_has_source before insert on sample
    for each row when (new.share_id is null) execute function fill_source_of_sample();

drop index sample_fresh;
create index sample_fresh on sample (kind, share_id, sample_id) where state = 'ready' and attempts = 0;

-- Who may write a file that one process at a time writes: a lease, so that one that is stopped delays nobody for long.
create table writer (
    name        text primary key,
    state       work_state not null,
    token       bigint not null,
    lease_until timestamptz not null
);
