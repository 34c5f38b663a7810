-- Domains, projects, users, roles, regions, services, endpoints: what Keystone gives an id, a name that is unique in
-- its domain, and further attributes. Domains and regions lie in no domain (empty), roles usually neither.
CREATE TABLE identity_entity (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  domain TEXT NOT NULL,
  name TEXT NOT NULL,
  enabled BOOLEAN NOT NULL,
  extra JSONB NOT NULL,
  PRIMARY KEY (kind, id),
  UNIQUE (kind, domain, name)
);

CREATE TABLE identity_password (
  user_id TEXT PRIMARY KEY,
  hash TEXT NOT NULL,
  changed_at BIGINT NOT NULL
);

-- Roles of users on a project, on a domain, or on the system, whose target is empty.
CREATE TABLE identity_assignment (
  user_id TEXT NOT NULL,
  scope TEXT NOT NULL CHECK (scope IN ('project', 'domain', 'system')),
  target TEXT NOT NULL,
  role TEXT NOT NULL,
  PRIMARY KEY (user_id, scope, target, role)
);
CREATE INDEX identity_assignment_target ON identity_assignment (scope, target);

CREATE TABLE identity_implied (
  prior TEXT NOT NULL,
  implied TEXT NOT NULL,
  PRIMARY KEY (prior, implied)
);

-- What a token stands for is read anew each time, so a role that is taken away is gone from tokens too. The token
-- itself is not stored, only its SHA-256.
CREATE TABLE identity_token (
  hash BYTEA PRIMARY KEY,
  user_id TEXT NOT NULL,
  scope TEXT NOT NULL CHECK (scope IN ('none', 'project', 'domain', 'system')),
  target TEXT NOT NULL,
  methods JSONB NOT NULL,
  credential TEXT,
  audit_ids JSONB NOT NULL,
  issued_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX identity_token_user ON identity_token (user_id);
CREATE INDEX identity_token_expires ON identity_token (expires_at);

-- Application credentials; roles are ids, secret is a hash.
CREATE TABLE identity_credential (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  name TEXT NOT NULL,
  project TEXT NOT NULL,
  secret TEXT NOT NULL,
  description TEXT,
  unrestricted BOOLEAN NOT NULL,
  roles JSONB NOT NULL,
  access_rules JSONB NOT NULL,
  expires_at BIGINT,
  UNIQUE (user_id, name)
);

-- Raised by whatever makes a known token worth less (or more): processes that know tokens look at it.
CREATE TABLE identity_revision (
  one BIGINT PRIMARY KEY,
  revision BIGINT NOT NULL
);
INSERT INTO identity_revision (one, revision) VALUES (1, 0);
