-- Further columns of the index, so that every filter and order of lists is known there. Up to tags they are
-- written by the API level, when an instance is asked for or described anew; the rest is what its cell was
-- last heard to say. Nothing is NULL: no host is '', and a time that has not come is 0, which sorts first.
ALTER TABLE instance_index ADD COLUMN image TEXT NOT NULL DEFAULT '';
ALTER TABLE instance_index ADD COLUMN image_id UUID;
ALTER TABLE instance_index ADD COLUMN flavor TEXT NOT NULL DEFAULT '';
ALTER TABLE instance_index ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE instance_index ADD COLUMN reservation TEXT NOT NULL DEFAULT '';
ALTER TABLE instance_index ADD COLUMN hostname TEXT NOT NULL DEFAULT '';
ALTER TABLE instance_index ADD COLUMN key_name TEXT NOT NULL DEFAULT '';
ALTER TABLE instance_index ADD COLUMN locked BOOLEAN NOT NULL DEFAULT false;
-- Sorted, each between two line feeds, which no tag contains.
ALTER TABLE instance_index ADD COLUMN tags TEXT NOT NULL DEFAULT '';
ALTER TABLE instance_index ADD COLUMN zone TEXT NOT NULL DEFAULT '';
ALTER TABLE instance_index ADD COLUMN vm_state TEXT NOT NULL DEFAULT 'building';
ALTER TABLE instance_index ADD COLUMN task_state TEXT NOT NULL DEFAULT '';
ALTER TABLE instance_index ADD COLUMN power_state BIGINT NOT NULL DEFAULT 0;
ALTER TABLE instance_index ADD COLUMN host_name TEXT NOT NULL DEFAULT '';
ALTER TABLE instance_index ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE instance_index ADD COLUMN launched_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE instance_index ADD COLUMN terminated_at BIGINT NOT NULL DEFAULT 0;

-- What is there already: the rest comes with its next change, or when the index is rebuilt.
UPDATE instance_index SET
  status = CASE WHEN deleted THEN 'DELETED' ELSE COALESCE(status, 'BUILD') END,
  updated_at = COALESCE(updated_at, created_at),
  image = COALESCE((SELECT r.spec->>'image' FROM request_spec r WHERE r.instance = instance_index.instance), ''),
  flavor = COALESCE((SELECT r.spec->'flavor'->>'id' FROM request_spec r WHERE r.instance = instance_index.instance), ''),
  description = COALESCE((SELECT r.spec->>'description' FROM request_spec r WHERE r.instance = instance_index.instance), ''),
  zone = COALESCE((SELECT r.spec->>'zone' FROM request_spec r WHERE r.instance = instance_index.instance), ''),
  vm_state = CASE WHEN deleted THEN 'deleted' WHEN status = 'ACTIVE' THEN 'active' WHEN status = 'SHUTOFF' THEN 'stopped'
    WHEN status = 'PAUSED' THEN 'paused' WHEN status = 'ERROR' THEN 'error' ELSE 'building' END;

-- Orders that are asked for page by page; others are sorted when they are asked for.
CREATE INDEX instance_index_name ON instance_index (project, name, instance) WHERE NOT deleted;
CREATE INDEX instance_index_updated ON instance_index (project, updated_at, instance);
CREATE INDEX instance_index_all_updated ON instance_index (updated_at, instance);
CREATE INDEX instance_index_gone ON instance_index (created_at DESC, instance DESC) WHERE deleted;
-- What a cell's rows may not tell of: not bound yet, or not inserted yet. There are few at any time.
CREATE INDEX instance_index_building ON instance_index (created_at DESC, instance DESC)
  WHERE NOT deleted AND vm_state = 'building';
CREATE INDEX instance_index_host ON instance_index (host_name) WHERE NOT deleted AND host_name <> '';
