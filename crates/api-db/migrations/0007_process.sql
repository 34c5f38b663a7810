-- The processes of the API level, and which version of each cell's mapping they work with.
CREATE TABLE process (
  id UUID PRIMARY KEY,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  seen_at BIGINT NOT NULL
);
CREATE TABLE process_cell (
  process UUID NOT NULL,
  cell UUID NOT NULL,
  version BIGINT NOT NULL,
  fault TEXT,
  PRIMARY KEY (process, cell)
);
-- Operators walk all the mappings of a cell by id.
DROP INDEX instance_mapping_cell;
CREATE INDEX instance_mapping_cell ON instance_mapping (cell, id);
