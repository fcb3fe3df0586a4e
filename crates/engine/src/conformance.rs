//! What every store must do, as a suite that each store runs.
