-- The user by which a host's agent was connected to the broker at its last sign of life, if it said so.
ALTER TABLE host ADD COLUMN connected_as TEXT;
