-- The catalog. Open it with `duckdb .geopin/<profile>/catalog.duckdb`; every table and view is meant to be queried by people.

create table if not exists captures (      -- one row per canonical capture that exists today
    capture_id        varchar not null,
    cell_id           varchar not null,    -- the crawl square its coordinates fall into
    source            varchar not null,
    source_capture_id varchar not null,
    lon               double  not null,
    lat               double  not null,
    captured_at       timestamptz,
    heading_deg       double,
    is_pano           boolean not null,
    sequence_id       varchar,
    creator           varchar,
    license           varchar not null,
    attribution       varchar not null,
    page_url          varchar not null,
    image_url         varchar not null,
    image_version     varchar not null,
    row_hash          varchar not null     -- of everything above but image_url, which may be a short-lived link
);

create table if not exists capture_history (  -- one row per capture ever seen
    capture_id    varchar not null,
    source        varchar not null,
    first_seen_at timestamptz not null,
    last_seen_at  timestamptz not null,
    removed_at    timestamptz                 -- tombstone: a complete crawl no longer returned it, or it was taken down
);

create table if not exists takedowns (     -- captures that never come back, whatever a source shows: `geopin takedown`
    capture_id    varchar primary key,     -- may never have been seen: a takedown can precede the crawl
    taken_down_at timestamptz not null,
    note          varchar not null         -- who asked, or why; empty if nobody said
);                                         -- the only table that no crawl can rebuild: keep it when the file is made anew

create table if not exists crawl_cells (   -- the newest crawl merged per (source, cell)
    source       varchar not null,
    cell_id      varchar not null,
    crawled_at   timestamptz not null,
    captures     bigint not null,
    requests     bigint not null,
    splits       bigint not null,
    duplicates   bigint not null,          -- the same (source, id) returned or stored more than once
    rejected     varchar not null,         -- JSON: reason -> count
    is_complete  boolean not null,
    duration_s   double not null,
    data_version varchar not null
);

create table if not exists embedding_failures (  -- images that could not be embedded, and when to try again
    capture_id    varchar not null,
    cell_id       varchar not null,
    source        varchar not null,
    image_version varchar not null,        -- of the image that failed: another one is tried afresh
    reason        varchar not null,
    attempts      integer not null,
    last_tried_at timestamptz not null,
    next_try_at   timestamptz              -- null: never again
);

create or replace view coverage_by_cell as
    select cell_id, source, count(*) as captures, count(*) filter (is_pano) as panos, max(captured_at) as newest_at
    from captures group by all;

create or replace view attribution_summary as
    select source, license, creator, count(*) as captures, min(attribution) as example_attribution
    from captures group by all order by captures desc;
