//! The files that define monitors: what is read, and what is refused with line and column.
