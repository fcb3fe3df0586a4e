//! What holds for every monitor, whatever happens and in whatever order.
