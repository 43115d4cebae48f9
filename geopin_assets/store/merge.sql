-- One batch of a merge. Given: `rows`, what the files to merge hold (RAW_SCHEMA without payload, and cell_key); temp
-- tables `files`, those files and whether what one lacks is gone, and `held`, what the catalog holds of their cells.
-- Where it says `fill`, the caller makes a table of what the part before found; where `write`, a transaction begins.
--
-- A capture is where the newest crawl that still has it saw it; what else has it waits in `other_sights`. So what comes
-- out follows from the files alone, whatever was merged first. Of captures in other cells only keys are read.
--
-- What decides is in temp tables that are there before the transaction begins: of those made inside DuckDB does not know
-- how many rows they have, and joins the wrong way around.

-- What is wide is picked from `rows` by the caller and written once: a join would copy all of it, for a third of the time
-- of a merge. All that decides is in `incoming`, beside the place of its row.
-- What was taken down is as if no file had it.
create or replace temp table incoming as
    select nth::bigint as nth, capture_id, cell_id, source, image_url, seen_in, seen_at, cell_key,
           (md5_number(capture_id) >> 64)::ubigint as id_key,  -- md5_number_lower, for a quarter of its time
           md5(json_array(cell_id, source_capture_id, lon, lat, position_from, position_error_m, epoch_us(captured_at),
                          heading_deg, heading_from, is_pano, sequence_id, creator, license, attribution, page_url,
                          image_version)::varchar) as row_hash
    from rows anti join takedowns using (capture_id);
create or replace temp table repeated as
    select id_key, min(cell_key) <> max(cell_key) as is_contested from incoming group by all having count(*) > 1;
create or replace temp table doubled as
    select rowid as row_id from incoming where id_key in (select id_key from repeated)
    qualify row_number() over (partition by capture_id, cell_id order by row_hash, image_url) > 1;
delete from incoming where rowid in (select row_id from doubled);

-- Captures that these cells did not hold: rows elsewhere that these files do not decide.
create or replace temp table unknown as
    select id_key, capture_id from incoming anti join held using (capture_id, cell_id);
-- fill elsewhere
-- Other sights: those that these files decide are told anew.
create or replace temp table retold as
    select o.rowid as row_id from other_sights o join files f on f.source = o.source and f.cell_id = o.cell_id
    where f.is_evidence
    union
    select o.rowid from other_sights o join incoming i on i.id_key = o.id_key and i.cell_id = o.cell_id
    where i.capture_id = o.capture_id;
create or replace temp table others as
    select o.* replace (
               greatest(o.seen_in, coalesce(k.complete_number, 0)) as seen_in,
               case when o.seen_in >= coalesce(k.complete_number, 0) then o.seen_at else k.complete_at end as seen_at),
           o.rowid as row_id
    from other_sights o left join crawl_cells k on k.source = o.source and k.cell_id = o.cell_id
    where o.rowid in (
        select o.rowid from other_sights o join (
            select id_key, capture_id from incoming union all select id_key, capture_id from held where not stays) i
        on i.id_key = o.id_key and i.capture_id = o.capture_id)
    and o.rowid not in (select row_id from retold);

-- Of captures with several sights the newest wins, on a tie the smaller cell id.
create or replace temp table contested as
    select capture_id from incoming where id_key in (select id_key from repeated where is_contested)
    union select capture_id from elsewhere union select capture_id from others;
-- fill several
-- Of `rows` those that are contested, with their id_key and row_hash.
create or replace temp table sights as
    select *, row_number() over (partition by capture_id order by
                                 seen_in desc, coalesce(seen_at, 'epoch'::timestamptz) desc, cell_id) as place
    from (
        select *, true as is_incoming from several
        union all by name
        select * exclude (row_id, first_seen_at, noted_in, not_indexed_because, batch), false as is_incoming
        from elsewhere anti join incoming using (capture_id, cell_id)
        union all by name
        select * exclude (row_id), false as is_incoming from others);

-- What there will be, beside what there is.
delete from incoming where capture_id in (select capture_id from contested);
insert into incoming by name
    select capture_id, cell_id, source, image_url, seen_in, seen_at, cell_key, id_key, row_hash
    from sights where place = 1;
create or replace temp table was as
    select row_id, capture_id, cell_id, source, row_hash, image_url, first_seen_at, noted_in, seen_in, seen_at, stays
    from held union all
    select row_id, capture_id, cell_id, source, row_hash, image_url, first_seen_at, noted_in, seen_in, seen_at, true
    from elsewhere anti join held using (row_id);
create or replace temp table changes as
    select p.row_id, p.capture_id, p.cell_id as from_cell, d.cell_id as to_cell, p.source, p.first_seen_at, p.seen_at,
           p.stays,
           case when d.capture_id is null then 'REMOVE'
                when d.row_hash <> p.row_hash or d.image_url <> p.image_url then 'UPDATE'
                when greatest(p.noted_in, coalesce(k.complete_number, 0)) <> d.seen_in then 'SEEN' end as action
    from was p left join incoming d on d.capture_id = p.capture_id
    left join files k on k.source = p.source and k.cell_id = p.cell_id;
delete from incoming where capture_id in (select capture_id from changes where action is null);
delete from changes where action is null or (action = 'REMOVE' and stays);

create or replace temp table back as
    select r.rowid as row_id, r.capture_id, r.first_seen_at
    from removed_captures r join incoming i on i.id_key = r.id_key and i.capture_id = r.capture_id;
create or replace temp table added as
    select i.id_key, i.cell_key from incoming i left join changes c on c.capture_id = i.capture_id
    where c.capture_id is null or c.from_cell <> i.cell_id;
-- fill chosen
-- Of `rows` those that are in `incoming` still, with their id_key, row_hash and first_seen_at, if any.
-- write
delete from other_sights where rowid in (select row_id from retold union all select row_id from others);
insert into other_sights by name select * exclude (place, is_incoming) from sights where place > 1;
delete from crawl_cells using files f where crawl_cells.source = f.source and crawl_cells.cell_id = f.cell_id;
insert into crawl_cells by name select * from accounts;
delete from removed_captures where rowid in (select row_id from back);
insert into removed_captures by name
    select md5_number_lower(capture_id) as id_key, capture_id, source, first_seen_at,
           coalesce(seen_at, first_seen_at) as last_seen_at, $now::timestamptz as removed_at, from_cell as cell_id
    from changes where action = 'REMOVE';
delete from captures where rowid in (select row_id from changes);
insert into captures by name
    select * replace (coalesce(first_seen_at, $now::timestamptz) as first_seen_at), $batch::bigint as batch from chosen
    union all by name
    select s.* exclude (place, is_incoming), $batch::bigint as batch,
           coalesce(c.first_seen_at, b.first_seen_at, s.seen_at, $now::timestamptz) as first_seen_at
    from sights s semi join (from incoming where nth is null) i using (capture_id)
    left join changes c on c.capture_id = s.capture_id left join back b on b.capture_id = s.capture_id
    where s.place = 1;
