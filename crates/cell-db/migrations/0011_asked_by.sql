-- The request that asked last for what the host is to do with an instance. Empty: the request that created it.
ALTER TABLE instance ADD COLUMN asked_by TEXT NOT NULL DEFAULT '';
