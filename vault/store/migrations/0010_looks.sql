-- A face near the cut is looked at a second time: then its template is that of the second look, and the length of its raw
-- vector is kept, by which its scores are weighed.

alter table face add column length real;

-- Three bands, and more reasons for which a match is held for review.
alter table alert drop constraint alert_band_check;
alter table alert add constraint alert_band_check check (band in ('possible', 'likely', 'strong'));
alter table match drop constraint match_band_check;
alter table match add constraint match_band_check check (band in ('possible', 'likely', 'strong'));
alter table match drop constraint match_held_check;
alter table match add constraint match_held_check
    check (held in ('hub_suspect', 'beyond_data', 'template_flood', 'dataset_flood', 'not_them'));

-- An operator's own calibration is used until they go back to the shipped one.
alter table calibration add column used boolean not null default true;
