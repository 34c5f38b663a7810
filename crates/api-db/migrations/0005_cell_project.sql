-- The projects whose instances a cell takes while it is under test.
CREATE TABLE cell_project (
  cell UUID NOT NULL,
  project TEXT NOT NULL,
  PRIMARY KEY (cell, project)
);
