-- People can ask for a new link to their page: one more kind of message, and the messages of a person found quickly.

alter table delivery
    drop constraint delivery_kind_check,
    add constraint delivery_kind_check check (kind in ('confirmation', 'alert', 'receipt', 'link'));
create index delivery_subject on delivery (subject_id);
