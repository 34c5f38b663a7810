-- The image catalogue: an image is a name for an OCI reference. One without a reference waits for it.
CREATE TABLE image (
  id UUID PRIMARY KEY,
  owner TEXT NOT NULL,
  name TEXT,
  visibility TEXT NOT NULL,
  reference TEXT,
  deactivated BOOLEAN NOT NULL DEFAULT false,
  protected BOOLEAN NOT NULL DEFAULT false,
  hidden BOOLEAN NOT NULL DEFAULT false,
  min_disk_gib BIGINT NOT NULL DEFAULT 0,
  min_ram_mib BIGINT NOT NULL DEFAULT 0,
  container_format TEXT,
  disk_format TEXT,
  tags JSONB NOT NULL DEFAULT '[]',
  properties JSONB NOT NULL DEFAULT '{}',
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX image_by_owner ON image (owner, name);
CREATE INDEX image_by_visibility ON image (visibility, name);
