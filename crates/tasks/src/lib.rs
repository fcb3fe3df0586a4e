//! DOES: the built-in tasks and the script engines.
