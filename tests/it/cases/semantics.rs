//! What an intermediary does with fields and methods, S01 to S14.
