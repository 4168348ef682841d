"""The database: schema, SQLite, the writer, and every table read and written; the only place with SQL."""
