-- Instances that ended and whose tombstones nobody needs any more, for whoever asks later.
CREATE TABLE archived_instance (
  id UUID PRIMARY KEY,
  project TEXT NOT NULL,
  name TEXT NOT NULL,
  ended_at BIGINT NOT NULL,
  archived_at BIGINT NOT NULL,
  body JSONB NOT NULL
);
CREATE INDEX archived_instance_ended ON archived_instance (ended_at);
