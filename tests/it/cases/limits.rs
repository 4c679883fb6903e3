//! Limits of the machine and of the table, M01 to M08.
