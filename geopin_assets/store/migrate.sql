-- A catalog from before crawls had numbers, whose history was a table of its own. Before and after `schema.sql`:
-- everything is kept; the next merge of a cell brings its number.

alter table captures rename to old_captures;
alter table capture_history rename to old_history;
alter table crawl_cells rename to old_crawls;
-- schema.sql
insert into captures by name
    select c.*, coalesce(h.first_seen_at, now()) as first_seen_at, 0 as seen_in, h.last_seen_at as seen_at,
           md5_number_lower(capture_id) as id_key, md5_number_lower(cell_id) % 4294967296 as cell_key
    from old_captures c left join old_history h using (capture_id);
insert into removed_captures by name
    select md5_number_lower(capture_id) as id_key, capture_id, source, first_seen_at, last_seen_at, removed_at from old_history where removed_at is not null;
insert into crawl_cells by name
    select *, -1 as number, case when is_complete then 0 end as complete_number,
           case when is_complete then crawled_at end as complete_at
    from old_crawls;
drop table old_captures;
drop table old_history;
drop table old_crawls;
