-- The message in which a person was told of this too: at most one about finds leaves in an hour.
alter table delivery add column covered_by uuid references delivery;
