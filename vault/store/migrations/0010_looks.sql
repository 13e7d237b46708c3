-- A face near the cut is looked at a second time: then its template is that of the second look, and the length of its raw
-- vector is kept, by which its scores are weighed.

alter table face add column length real;
