-- Users of the broker that were made for single hosts. A row is there before its user is, and goes after it.
CREATE TABLE broker_user (
  host UUID PRIMARY KEY,
  name TEXT NOT NULL,
  made_at BIGINT NOT NULL
);
