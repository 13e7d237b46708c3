-- A withdrawal waits for nobody's lock: it is a row of its own, with no key to any other.
create table withdrawal (
    withdrawal_id bigint generated always as identity primary key,
    subject_id  uuid not null,
    withdrawn_at timestamptz not null default clock_timestamp(),
    withdrawn_by text not null default 'subject'
);
create index withdrawal_subject on withdrawal (subject_id);
insert into withdrawal (subject_id, withdrawn_at) select subject_id, withdrawn_at from consent where withdrawn_at is not null;

drop trigger match_needs_consent on match;
drop function refuse_match_without_consent;
drop index consent_live;
alter table consent drop column withdrawn_at;
create unique index consent_subject on consent (subject_id);

update subject set state = 'active' where state = 'withdrawn';
alter table subject drop constraint subject_state_check;
alter table subject add constraint subject_state_check check (state in ('pending', 'active', 'erased'));

-- Consents by which a person may be searched and written to now.
create view live_consent as
    select consent_id, subject_id, granted_at, confirmed_at from consent
    where confirmed_at is not null
      and not exists (select from withdrawal where withdrawal.subject_id = consent.subject_id);

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
create trigger match_needs_consent
    before insert or update of face_id, subject_id, template_id, consent_id, calibration_id, score, cut, band, held on match
    for each row execute function refuse_match_without_consent();

-- Drawn from, never updated: whoever changes who may be searched waits for nobody.
drop table gallery_clock;
create sequence gallery_clock;

-- However many ask for a link at once, one message waits.
create unique index delivery_link on delivery (subject_id) where kind = 'link' and state in ('ready', 'running');

-- Since when the erasure waits for older transactions to end.
alter table erasure add column fenced_at timestamptz;

-- Claims of faces with a token below this may have looked at the gallery before the template was live.
alter table hunt add column fence bigint not null default 0;
