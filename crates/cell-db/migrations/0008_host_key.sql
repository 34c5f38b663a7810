-- The keys that hosts sign with. A host has one; what is signed with another is not its.
CREATE TABLE host_key (
  host UUID PRIMARY KEY,
  -- Ed25519, base64.
  public_key TEXT NOT NULL,
  enrolled_at BIGINT NOT NULL,
  -- An operator took the key back: the host has to enrol with another one.
  revoked BOOLEAN NOT NULL DEFAULT FALSE,
  -- The session whose calls were heard last, and the highest counter of them that was recorded: what is not above it
  -- was heard before.
  session UUID NOT NULL,
  counter BIGINT NOT NULL
);

-- What makes a host one of the cell, once. Only a fingerprint is kept.
CREATE TABLE join_token (
  id UUID PRIMARY KEY,
  fingerprint TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL,
  ends_at BIGINT NOT NULL,
  used_by UUID,
  used_at BIGINT
);

-- Agents that were refused since they were last registered, for operators.
CREATE TABLE host_refused (
  host UUID PRIMARY KEY,
  name TEXT NOT NULL,
  reason TEXT NOT NULL,
  since BIGINT NOT NULL,
  refused_at BIGINT NOT NULL
);

-- The session before the one that is registered: if it registers again, two agents run with one host id.
ALTER TABLE host ADD COLUMN session_before UUID;
