-- A bundle is of its case as it was; an alert that grew since has another version. `case_sha256`: of what a bundle says,
-- null for those that were sealed before there were versions; `holds`: how much of it there was.
alter table bundle add column version integer not null default 1;
alter table bundle add column why text not null default '';
alter table bundle add column case_sha256 text;
alter table bundle add column holds jsonb not null default '{}';
update bundle set version = numbered.version
from (select bundle_id, row_number() over (partition by alert_id order by created_at, bundle_id) as version
      from bundle) as numbered
where bundle.bundle_id = numbered.bundle_id;
