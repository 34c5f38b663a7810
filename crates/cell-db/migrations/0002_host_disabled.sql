-- Hosts that an operator keeps from taking new instances: a row is the switch, off. The API level writes it,
-- so it is no column of host, whose rows belong to the conductors.
CREATE TABLE host_disabled (
  host UUID PRIMARY KEY,
  reason TEXT NOT NULL,
  user_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  since BIGINT NOT NULL
);
