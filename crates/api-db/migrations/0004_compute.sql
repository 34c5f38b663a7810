-- What Nova knows of a flavor beside its size.
ALTER TABLE flavor ADD COLUMN public BOOLEAN NOT NULL DEFAULT true;
ALTER TABLE flavor ADD COLUMN description TEXT;
ALTER TABLE flavor ADD COLUMN swap_mib BIGINT NOT NULL DEFAULT 0;
ALTER TABLE flavor ADD COLUMN ephemeral_gib BIGINT NOT NULL DEFAULT 0;
ALTER TABLE flavor ADD COLUMN rxtx_milli BIGINT NOT NULL DEFAULT 1000;
ALTER TABLE flavor ADD COLUMN extra_specs JSONB NOT NULL DEFAULT '{}';

-- Which projects may use a flavor that is not public.
CREATE TABLE flavor_access (
  flavor TEXT NOT NULL,
  project TEXT NOT NULL,
  PRIMARY KEY (flavor, project)
);

-- Limits set by an administrator; what is not here has the class's, and else the configuration's. -1 means
-- without limit. (The maxima in quota are not read any more.)
CREATE TABLE quota_limit (
  project TEXT NOT NULL,
  resource TEXT NOT NULL,
  maximum BIGINT NOT NULL,
  PRIMARY KEY (project, resource)
);
CREATE TABLE quota_class (
  class TEXT NOT NULL,
  resource TEXT NOT NULL,
  maximum BIGINT NOT NULL,
  PRIMARY KEY (class, resource)
);

-- One row for each thing that is counted by counting rows: whoever counts takes its lock first.
CREATE TABLE counting (
  scope TEXT PRIMARY KEY
);

CREATE TABLE keypair (
  user_id TEXT NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  public_key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (user_id, name)
);

CREATE TABLE server_group (
  id UUID PRIMARY KEY,
  project TEXT NOT NULL,
  user_id TEXT NOT NULL,
  name TEXT NOT NULL,
  policy TEXT NOT NULL,
  max_per_host BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX server_group_project ON server_group (project, created_at, id);

-- Members stay after they are gone; whoever reads joins the mappings.
CREATE TABLE server_group_member (
  instance UUID PRIMARY KEY,
  server_group UUID NOT NULL
);
CREATE INDEX server_group_member_group ON server_group_member (server_group, instance);

CREATE TABLE aggregate (
  id BIGINT PRIMARY KEY,
  uuid UUID NOT NULL UNIQUE,
  name TEXT NOT NULL UNIQUE,
  zone TEXT,
  metadata JSONB NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT
);
CREATE TABLE aggregate_host (
  aggregate BIGINT NOT NULL,
  host TEXT NOT NULL,
  PRIMARY KEY (aggregate, host)
);

-- What each instance has used, for as long as its project may ask.
CREATE TABLE instance_usage (
  instance UUID PRIMARY KEY,
  project TEXT NOT NULL,
  name TEXT NOT NULL,
  flavor TEXT NOT NULL,
  vcpus BIGINT NOT NULL,
  memory_mib BIGINT NOT NULL,
  disk_gib BIGINT NOT NULL,
  started_at BIGINT NOT NULL,
  ended_at BIGINT
);
CREATE INDEX instance_usage_project ON instance_usage (project, started_at);
