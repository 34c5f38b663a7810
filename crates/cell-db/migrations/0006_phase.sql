-- What an instance undergoes beyond its container (model::Phase), and the size that it is to have or had: it is
-- claimed, beside the one in its spec, until the user has decided.
ALTER TABLE instance ADD COLUMN phase TEXT NOT NULL DEFAULT '';
ALTER TABLE instance ADD COLUMN other_size JSONB;
CREATE INDEX instance_due ON instance (id) WHERE phase IN ('resize-wanted', 'confirming', 'revert-wanted');

-- Why an action failed.
ALTER TABLE action ADD COLUMN message TEXT;
