"""What is kept: whole-partition Parquet files and the DuckDB catalog. The only package that may import duckdb."""
