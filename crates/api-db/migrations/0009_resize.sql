-- What is counted of an instance for its project's quota; NULL means what its flavor has. While a size is changed it
-- is the larger of both.
ALTER TABLE request_spec ADD COLUMN counted_cores BIGINT;
ALTER TABLE request_spec ADD COLUMN counted_memory_mib BIGINT;

-- Each change of an instance's size: Nova's migrations, of which skep has no other kind.
CREATE TABLE resize (
  id UUID PRIMARY KEY,
  instance UUID NOT NULL,
  project TEXT NOT NULL,
  user_id TEXT NOT NULL,
  host_name TEXT NOT NULL,
  old_flavor TEXT NOT NULL,
  new_flavor TEXT NOT NULL,
  status TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX resize_created ON resize (created_at DESC, id DESC);
CREATE INDEX resize_instance ON resize (instance, created_at DESC, id DESC);
