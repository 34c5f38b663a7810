CREATE TABLE host (
  id UUID PRIMARY KEY,
  name TEXT NOT NULL,
  zone TEXT NOT NULL,
  engine TEXT NOT NULL,
  address TEXT NOT NULL,
  enabled BOOLEAN NOT NULL,
  healthy BOOLEAN NOT NULL,
  session UUID NOT NULL,
  boot UUID NOT NULL,
  version TEXT NOT NULL,
  beat BIGINT NOT NULL,
  silent BOOLEAN NOT NULL,
  seen_at BIGINT NOT NULL,
  cap_vcpus_milli BIGINT NOT NULL,
  cap_memory_mib BIGINT NOT NULL,
  cap_slots BIGINT NOT NULL,
  used_vcpus_milli BIGINT NOT NULL,
  used_memory_mib BIGINT NOT NULL,
  used_slots BIGINT NOT NULL,
  -- A host may shrink below what it runs; then amounts are only given back until it fits again.
  shrunk BOOLEAN NOT NULL,
  CHECK (used_vcpus_milli >= 0 AND used_memory_mib >= 0 AND used_slots >= 0),
  CHECK (shrunk OR (used_vcpus_milli <= cap_vcpus_milli AND used_memory_mib <= cap_memory_mib AND used_slots <= cap_slots))
);

-- The one row that an instance has in this cell; a tombstone is a stage of it.
CREATE TABLE instance (
  id UUID PRIMARY KEY,
  epoch BIGINT NOT NULL,
  placement BIGINT NOT NULL,
  generation BIGINT NOT NULL,
  saga_token BIGINT NOT NULL,
  op_token BIGINT NOT NULL,
  version BIGINT NOT NULL,
  project TEXT NOT NULL,
  name TEXT NOT NULL,
  spec JSONB NOT NULL,
  intent TEXT NOT NULL CHECK (intent IN ('run', 'stop', 'gone')),
  stage TEXT NOT NULL CHECK (stage IN ('unplaced', 'building', 'leaving', 'settled', 'error', 'tombstone')),
  task TEXT,
  power TEXT NOT NULL,
  host UUID,
  bucket BIGINT NOT NULL,
  tries BIGINT NOT NULL,
  avoid JSONB NOT NULL,
  restart_seq BIGINT NOT NULL,
  restart_hard BOOLEAN NOT NULL,
  restart_done BIGINT NOT NULL,
  -- The newest generation that the host has journaled in this placement.
  agent_generation BIGINT NOT NULL,
  obs_seq BIGINT NOT NULL,
  observed JSONB NOT NULL,
  fault JSONB,
  fault_at BIGINT,
  deadline BIGINT,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  launched_at BIGINT,
  terminated_at BIGINT,
  CHECK (stage <> 'tombstone' OR host IS NULL)
);
CREATE INDEX instance_unplaced ON instance (bucket) WHERE stage = 'unplaced';
CREATE INDEX instance_host ON instance (host, id) WHERE host IS NOT NULL;
CREATE INDEX instance_pending ON instance (host, id) WHERE host IS NOT NULL AND agent_generation < generation;
CREATE INDEX instance_list ON instance (project, created_at DESC, id DESC) WHERE stage <> 'tombstone';
CREATE INDEX instance_late ON instance (deadline) WHERE deadline IS NOT NULL;

CREATE TABLE allocation (
  instance UUID PRIMARY KEY,
  host UUID NOT NULL REFERENCES host (id),
  epoch BIGINT NOT NULL,
  placement BIGINT NOT NULL,
  vcpus_milli BIGINT NOT NULL,
  memory_mib BIGINT NOT NULL,
  slots BIGINT NOT NULL
);
CREATE INDEX allocation_host ON allocation (host);

-- Fixed host ports, claimed in the transaction that claims the host. Hosts that share an engine share
-- its ports, so the engine's name is what counts.
CREATE TABLE port_claim (
  engine TEXT NOT NULL,
  protocol TEXT NOT NULL,
  port BIGINT NOT NULL,
  instance UUID NOT NULL,
  PRIMARY KEY (engine, protocol, port)
);
CREATE INDEX port_claim_instance ON port_claim (instance);

-- Which instances have visibly changed since the API level last looked.
CREATE TABLE dirty (
  instance UUID PRIMARY KEY,
  version BIGINT NOT NULL,
  since BIGINT NOT NULL
);
CREATE INDEX dirty_since ON dirty (since);

-- What was asked of instances inside the cell: one row for each accepted action.
CREATE TABLE action (
  id UUID PRIMARY KEY,
  instance UUID NOT NULL,
  action TEXT NOT NULL,
  request_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  project TEXT NOT NULL,
  at BIGINT NOT NULL
);
CREATE INDEX action_instance ON action (instance, at);

CREATE TABLE summary (
  one BIGINT PRIMARY KEY CHECK (one = 1),
  version BIGINT NOT NULL,
  at BIGINT NOT NULL,
  body JSONB NOT NULL
);
