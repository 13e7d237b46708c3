"""Until when a picture is needed: asked of blobs, and of pages in which pictures lie."""

from psycopg import sql

QUARANTINE_DAYS = 7  # for which what could not be opened is kept, so that it can be tried again

# Of a row of `sample` with one of its faces, or none: is the content still needed? Until it is finished, longer where
# somebody was matched or held in it, and for %(days)s days where it could not be opened.
NEEDED = sql.SQL("""(
    sample.state in ('ready', 'running') or face.state in ('ready', 'running')
    or face.outcome in ('matched', 'held')
    or sample.state = 'quarantined' and sample.error_code is distinct from 'hash_listed'
       and sample.not_before > now() - make_interval(days => %(days)s))""")
