CREATE TABLE cell_mapping (
  id UUID PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  region TEXT NOT NULL,
  database_url TEXT NOT NULL,
  transport_url TEXT NOT NULL,
  state TEXT NOT NULL,
  version BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);

-- How many bindings of each cell have not settled; counted in the binding transaction.
CREATE TABLE cell_load (
  cell UUID PRIMARY KEY,
  unsettled BIGINT NOT NULL CHECK (unsettled >= 0)
);

CREATE TABLE host_mapping (
  host UUID PRIMARY KEY,
  cell UUID NOT NULL,
  name TEXT NOT NULL
);

CREATE TABLE instance_mapping (
  id UUID PRIMARY KEY,
  project TEXT NOT NULL,
  user_id TEXT NOT NULL,
  cell UUID,
  epoch BIGINT NOT NULL,
  saga_token BIGINT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('live', 'deleting', 'deleted')),
  created_at BIGINT NOT NULL,
  deleted_at BIGINT
);
CREATE INDEX instance_mapping_cell ON instance_mapping (cell) WHERE state <> 'deleted';

CREATE TABLE request_spec (
  instance UUID PRIMARY KEY,
  spec JSONB NOT NULL
);

-- What lists are made of. Id, project, user, region and created never change; name is written by the
-- API level; the rest is what the cell was last heard to say, ordered by (epoch, version).
CREATE TABLE instance_index (
  instance UUID PRIMARY KEY,
  project TEXT NOT NULL,
  user_id TEXT NOT NULL,
  region TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  name TEXT NOT NULL,
  deleted BOOLEAN NOT NULL,
  epoch BIGINT NOT NULL,
  version BIGINT NOT NULL,
  status TEXT,
  host UUID,
  updated_at BIGINT
);
CREATE INDEX instance_index_project ON instance_index (project, created_at DESC, instance DESC) WHERE NOT deleted;
CREATE INDEX instance_index_all ON instance_index (created_at DESC, instance DESC) WHERE NOT deleted;

CREATE TABLE flavor (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  vcpus BIGINT NOT NULL,
  memory_mib BIGINT NOT NULL,
  disk_gib BIGINT NOT NULL,
  pids BIGINT NOT NULL
);
INSERT INTO flavor (id, name, vcpus, memory_mib, disk_gib, pids) VALUES
  ('1', 'c1.tiny', 1, 64, 1, 128),
  ('2', 'c1.small', 1, 256, 5, 256),
  ('3', 'c1.medium', 2, 1024, 10, 512),
  ('4', 'c1.large', 4, 4096, 20, 1024),
  ('5', 'c1.huge', 64, 262144, 100, 4096);

-- Limits of -1 mean without limit.
CREATE TABLE quota (
  project TEXT PRIMARY KEY,
  instances BIGINT NOT NULL CHECK (instances >= 0),
  cores BIGINT NOT NULL CHECK (cores >= 0),
  memory_mib BIGINT NOT NULL CHECK (memory_mib >= 0),
  max_instances BIGINT NOT NULL,
  max_cores BIGINT NOT NULL,
  max_memory_mib BIGINT NOT NULL
);

CREATE TABLE audit (
  id UUID PRIMARY KEY,
  at BIGINT NOT NULL,
  request_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  project TEXT NOT NULL,
  action TEXT NOT NULL,
  target UUID,
  detail JSONB NOT NULL
);
CREATE INDEX audit_target ON audit (target);
