//! SPEAKS: the Conductor REST API and the pages beside it.
