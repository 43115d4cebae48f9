"""The index on this machine: LanceDB for vectors, SQLite for the tables of D1."""
