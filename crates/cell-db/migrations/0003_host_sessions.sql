
-- How many sessions of its agent have registered a host: observations are numbered from it, so that no clock and no
-- journal has to be right for a later session to be heard. It begins so high that even its first number is above what
-- agents used to number by their clocks (microseconds since 1970).
ALTER TABLE host ADD COLUMN sessions BIGINT NOT NULL DEFAULT 4096;
