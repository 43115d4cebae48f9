-- The catalog. Open it with `duckdb .geopin/<profile>/catalog.duckdb`; every table and view is meant to be queried by people.

create table if not exists captures (      -- one row per canonical capture that exists today
    capture_id        varchar not null,
    cell_id           varchar not null,    -- the crawl square its coordinates fall into
    source            varchar not null,
    source_capture_id varchar not null,
    lon               double  not null,
    lat               double  not null,
    position_from     varchar,
    position_error_m  double,
    captured_at       timestamptz,
    heading_deg       double,
    heading_from      varchar,
    is_pano           boolean not null,
    sequence_id       varchar,
    creator           varchar,
    license           varchar not null,
    attribution       varchar not null,
    page_url          varchar not null,
    image_url         varchar not null,
    image_version     varchar not null,
    row_hash          varchar not null,    -- of everything above but image_url, which may be a short-lived link
    first_seen_at     timestamptz not null, -- by the first crawl that returned it
    seen_in           bigint not null,     -- number of a crawl that returned it; unchanged while later ones are complete
    seen_at           timestamptz,         -- when that crawl was; null if nobody knows
    id_key            ubigint not null,    -- of capture_id: a number
    cell_key          uinteger not null,   -- of cell_id: found by a number, other rows need not be read
    not_indexed_because varchar,           -- thinned: another one of its sequence stands for it; null: the index wants it
    batch             bigint default 0     -- which batch of a merge wrote the row: others need not be looked at; 0: unknown
);

create table if not exists cell_batches (  -- in which batches rows of a cell may be
    cell_key uinteger not null,            -- as in captures
    batch    bigint not null               -- as in captures; 0 may be in any cell
);

create table if not exists capture_keys (  -- where each capture is, or was: found without asking all captures
    id_key   ubigint not null,             -- as in captures; in order, as maintenance left them, then those since
    cell_key uinteger not null             -- as in captures
);

create table if not exists recent_keys (   -- the same of the newest, until they are many enough to be worth sorting
    id_key   ubigint not null,             -- as in captures
    cell_key uinteger not null             -- as in captures
);

create table if not exists keyed_crawls (  -- of which merged crawls the keys are: another version may merge too
    crawls hugeint not null                -- a sum over crawl_cells
);

create table if not exists other_sights (  -- captures in a cell that a newer crawl of another cell returned too
    capture_id        varchar not null,
    cell_id           varchar not null,    -- where the older crawl saw it: it is there again once the newer cell lacks it
    source            varchar not null,
    source_capture_id varchar not null,
    lon               double  not null,
    lat               double  not null,
    position_from     varchar,
    position_error_m  double,
    captured_at       timestamptz,
    heading_deg       double,
    heading_from      varchar,
    is_pano           boolean not null,
    sequence_id       varchar,
    creator           varchar,
    license           varchar not null,
    attribution       varchar not null,
    page_url          varchar not null,
    image_url         varchar not null,
    image_version     varchar not null,
    row_hash          varchar not null,    -- as in captures
    seen_in           bigint not null,     -- as in captures
    seen_at           timestamptz,         -- as in captures
    id_key            ubigint not null,    -- as in captures
    cell_key          uinteger not null    -- as in captures
);

alter table captures add column if not exists position_from varchar;  -- here and below: of catalogs from before
alter table captures add column if not exists position_error_m double;
alter table captures add column if not exists heading_from varchar;
alter table captures add column if not exists not_indexed_because varchar;
alter table captures add column if not exists batch bigint default 0;
alter table other_sights add column if not exists position_from varchar;
alter table other_sights add column if not exists position_error_m double;
alter table other_sights add column if not exists heading_from varchar;

create table if not exists removed_captures (  -- tombstones: one row per capture that was there and is not any more
    id_key        ubigint not null,           -- as in captures
    capture_id    varchar not null,
    source        varchar not null,
    first_seen_at timestamptz not null,       -- by the first crawl that returned it
    last_seen_at  timestamptz not null,       -- by the newest crawl that returned it
    removed_at    timestamptz not null,       -- when a complete crawl no longer returned it, or it was taken down
    cell_id       varchar                     -- where it was; null of those removed before this was noted
);
alter table removed_captures add column if not exists cell_id varchar;

create table if not exists generations (   -- every merge, so that what was made from one can tell this catalog from another
    installation_id varchar not null,      -- whose catalog this is
    generation      bigint  not null,      -- merges so far
    merge_id        varchar not null       -- names this merge; what was made from the catalog remembers it
);

create table if not exists thinning (      -- one row, once anything was thinned
    within_m double not null               -- the distance that every cell was thinned by (GEOPIN_THIN_M)
);

create table if not exists takedowns (     -- a copy of the list of captures that never come back: `takedowns.jsonl`
    capture_id    varchar primary key,     -- may never have been seen: a takedown can precede the crawl
    taken_down_at timestamptz not null,    -- when it came on the list
    note          varchar not null         -- who asked, or why; empty if nobody said
);

create table if not exists crawl_cells (   -- the newest crawl merged per (source, cell)
    source       varchar not null,         -- registered source that was asked
    cell_id      varchar not null,         -- the crawl square that was asked for
    number       bigint not null,          -- orders the crawls of a source; 0: from before they were numbered
    complete_number bigint,                -- of the newest complete one in this cell; null if there was none
    crawled_at   timestamptz,              -- when the crawl began; null if its clock said a time that had not come yet
    complete_at  timestamptz,              -- when the newest complete one began
    captures     bigint not null,          -- how many are stored
    requests     bigint not null,          -- how many it sent
    splits       bigint not null,          -- how often an answer was full and its box was divided
    duplicates   bigint not null,          -- the same (source, id) returned or stored more than once
    rejected     varchar not null,         -- JSON: reason -> count
    is_complete  boolean not null,         -- false: something could not be asked, so nothing is removed by it
    duration_s   double not null,          -- from its first request to its last
    data_version varchar not null          -- hash of what it stored
);

create table if not exists unwritten_cells (  -- cells whose file of canonical captures is older than this catalog
    cell_id varchar not null               -- the crawl square
);

create table if not exists embedding_failures (  -- images that could not be embedded, and when to try again
    capture_id    varchar not null,
    cell_id       varchar not null,        -- the crawl square that was embedded
    source        varchar not null,
    image_version varchar not null,        -- of the image that failed: another one is tried afresh
    reason        varchar not null,        -- what went wrong
    attempts      integer not null,        -- tries so far
    last_tried_at timestamptz not null,    -- when the newest of them was
    next_try_at   timestamptz              -- null: never again
);

create table if not exists failure_files (  -- what `embedding_failures` was filled from: one file per cell that has any
    cell_id varchar not null,              -- the crawl square that was embedded
    version varchar not null               -- of its file then; another one is read again
);

create or replace view capture_history as (    -- one row per capture ever seen
    select capture_id,                         -- of captures and of removed_captures
           captures.source,                    -- registered source
           first_seen_at,                      -- by the first crawl that returned it
           coalesce(case when seen_in >= coalesce(complete_number, 0) then seen_at else complete_at end,
                    first_seen_at) as last_seen_at, -- by the newest crawl that returned it
           null::timestamptz as removed_at,    -- tombstone: a complete crawl no longer returned it, or it was taken down
           cell_id                             -- where it is, or was
    from captures left join crawl_cells using (source, cell_id)
    union all by name select * exclude (id_key) from removed_captures
);

create or replace view coverage_by_cell as (     -- how much each source has in each cell
    select cell_id,                              -- the crawl square
           source,                               -- registered source
           count(*) as captures,                 -- how many captures
           count(*) filter (is_pano) as panos,   -- how many of them are panoramas
           max(captured_at) as newest_at         -- shutter time of the newest
    from captures group by all
);

create or replace view attribution_summary as (            -- what has to be shown, most frequent first
    select source,                                         -- registered source
           license,                                        -- SPDX-like id
           creator,                                        -- as the source names them
           count(*) as captures,                           -- how many captures
           min(attribution) as example_attribution         -- the text of one of them
    from captures group by all order by captures desc
);
