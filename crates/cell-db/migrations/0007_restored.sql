-- One row from the time when this database was put back from a backup until an operator says that all is well.
-- Meanwhile nothing is placed, removed or changed for users.
CREATE TABLE restored (
  one BIGINT PRIMARY KEY CHECK (one = 1),
  since BIGINT NOT NULL
);

-- The incarnation of this database in which the host was last heard out: everything that it has was told.
ALTER TABLE host ADD COLUMN heard UUID;

-- Containers that hosts have and that this database does not know, as their agents tell of them. They are kept.
CREATE TABLE offered (
  instance UUID NOT NULL,
  host UUID NOT NULL,
  epoch BIGINT NOT NULL,
  placement BIGINT NOT NULL,
  generation BIGINT NOT NULL,
  project TEXT NOT NULL,
  cell TEXT NOT NULL,
  spec_hash TEXT NOT NULL,
  power TEXT NOT NULL,
  -- What the agent was to do about it, if its journal knows.
  wish JSONB,
  told_at BIGINT NOT NULL,
  PRIMARY KEY (instance, host)
);
CREATE INDEX offered_host ON offered (host);
