//! What host and guest promise each other.
