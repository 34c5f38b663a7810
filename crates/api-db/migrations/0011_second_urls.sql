-- A second way to a cell's database and to its broker, with other credentials; empty where there is none.
ALTER TABLE cell_mapping ADD COLUMN second_database_url TEXT NOT NULL DEFAULT '';
ALTER TABLE cell_mapping ADD COLUMN second_transport_url TEXT NOT NULL DEFAULT '';
