//! The OCI distribution API: our own client over reqwest. Knows the specification, nothing of what tags mean.
