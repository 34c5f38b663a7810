-- One row from the time when this database was put back from a backup until an operator says that all is well.
-- Meanwhile no task is worked on: promises are taken and wait.
CREATE TABLE restored (
  one BIGINT PRIMARY KEY CHECK (one = 1),
  since BIGINT NOT NULL
);
