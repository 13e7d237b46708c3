-- Approvers are rows, not a file; what one operator alone chose is answered to its person only.

-- `kind`: a demo or bench has approvers of its own and refuses everything of other people. `first_approver_at`: there is
-- no second first one. `mac`: of this row, by the key file; empty in a database that was made before.
alter table deployment add column kind text not null default 'own' check (kind in ('own', 'demo'));
alter table deployment add column first_approver_at timestamptz;
alter table deployment add column mac text not null default '';

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

-- Approvers who signed an enrolment. With two that count its person is searched among the faces kept before.
create table enrolment_signature (
    subject_id  uuid not null references subject,
    public_key  text not null references approver,
    signature   text not null,
    signed_at   timestamptz not null default now(),
    primary key (subject_id, public_key)
);
alter table subject add column hunts_from timestamptz;

-- `signers`: the public keys whose signature of the card counted when it was last read. `visibility`: who is told of what
-- is found, by these and `alone` (handed in, or read on this machine's loopback): see store/visibility.py.
-- `closed_places`: where it was read while it was not open; a card that does not name them all does not open it.
alter table source add column visibility text not null default 'labelled'
    check (visibility in ('open', 'labelled', 'private'));
alter table source add column signers text[] not null default '{}';
alter table source add column alone boolean not null default false;
alter table source add column closed_places text[] not null default '{}';
update source set visibility = 'private', alone = true where card ~ '(^|\n)kind *= *"(folder|export)"';

-- `label`: how operators call the person where the source is not open; a new one each time. `shown_from`: found by a
-- search of one person in many places, they come to operators at times that do not tell so.
alter table alert add column label text not null default left(replace(gen_random_uuid()::text, '-', ''), 8);
alter table alert add column shown_from timestamptz not null default now();
update alert set shown_from = created_at;

-- private: found in material that one operator alone chose; what became of it only its person is told
alter table face drop constraint face_outcome_check;
alter table face add constraint face_outcome_check
    check (outcome in ('matched', 'unmatched', 'low_quality', 'held', 'private'));

-- Drawn by lot: operators see the numbers of what is held, and from the gaps in a sequence would know how many matches
-- were made that they are not shown.
alter table match alter column match_id drop identity;
alter table match alter column match_id set default floor(random() * 1099511627776)::bigint;

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
