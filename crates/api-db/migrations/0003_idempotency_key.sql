-- What was answered to requests that carried an Idempotency-Key. The id is made of the caller, the route and
-- the key; the fingerprint of the rest of the request. Without a status, the request is being worked on by
-- `held_by`, at most until `held_until`; `first` names all attempts at it together.
CREATE TABLE idempotency_key (
  id UUID PRIMARY KEY,
  fingerprint BYTEA NOT NULL,
  project TEXT NOT NULL,
  request_id TEXT NOT NULL,
  first UUID NOT NULL,
  held_by UUID NOT NULL,
  held_until BIGINT NOT NULL,
  status BIGINT,
  headers JSONB,
  body BYTEA,
  expires_at BIGINT NOT NULL
);
CREATE INDEX idempotency_key_expires ON idempotency_key (expires_at);
