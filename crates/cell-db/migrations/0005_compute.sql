-- How an instance that should run is to be frozen; empty if it is not.
ALTER TABLE instance ADD COLUMN frozen TEXT NOT NULL DEFAULT '';

-- When an action came to its end, and how.
ALTER TABLE action ADD COLUMN finished_at BIGINT;
ALTER TABLE action ADD COLUMN result TEXT;

-- Availability zones that aggregates put hosts into, instead of what hosts say themselves. The API level
-- writes them, so they are no column of host, whose rows belong to the conductors.
CREATE TABLE host_zone (
  host UUID PRIMARY KEY,
  zone TEXT NOT NULL
);

-- Members of server groups on hosts, claimed in the transaction that claims the host: a slot can be taken
-- once.
CREATE TABLE group_claim (
  server_group UUID NOT NULL,
  host UUID NOT NULL,
  slot BIGINT NOT NULL,
  instance UUID NOT NULL UNIQUE,
  PRIMARY KEY (server_group, host, slot)
);

-- The one host of a group that asks for one.
CREATE TABLE group_host (
  server_group UUID PRIMARY KEY,
  host UUID NOT NULL
);
