//! What asof reports, as JSON: one shape for the command line and the mount. Fields are only ever added.
