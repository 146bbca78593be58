//! Names made safe for tags, releases and namespaces.
