-- One merge, inside one transaction. Given: temp table files(path, source, cell_id, crawled_at, is_complete),
-- the raw files that are newer than what was merged before. Afterwards: temp tables incoming, changed, removed.

-- What was taken down is as if no file had it.
create or replace temp table staged as
    select r.*, f.crawled_at, s.last_seen_at
    from read_parquet($paths, filename = true, hive_partitioning = false) r
    join files f on r.filename = f.path
    left join capture_history s on s.capture_id = r.capture_id
    where r.capture_id not in (select capture_id from takedowns);

-- Dedup on (source, source_capture_id): the newest crawl wins; on a tie the smaller cell id, whatever the file order.
-- A capture already seen by a later crawl elsewhere has moved there: this older sight of it is a duplicate too.
create or replace temp table incoming as
    select capture_id, cell_id, source, source_capture_id, lon, lat, captured_at, heading_deg, is_pano, sequence_id,
           creator, license, attribution, page_url, image_url, image_version, crawled_at,
           md5(json_array(cell_id, source_capture_id, lon, lat, epoch_us(captured_at), heading_deg, is_pano,
                          sequence_id, creator, license, attribution, page_url, image_version)::varchar) as row_hash
    from staged
    where last_seen_at is null or last_seen_at <= crawled_at
    qualify row_number() over (partition by source, source_capture_id order by crawled_at desc, cell_id) = 1;

create or replace temp table changed (action varchar, capture_id varchar, cell_id varchar);
create or replace temp table removed as
    select c.capture_id, c.cell_id
    from captures c
    join files f on f.source = c.source and f.cell_id = c.cell_id and f.is_complete
    where not exists (select 1 from incoming i where i.capture_id = c.capture_id);
