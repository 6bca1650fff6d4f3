//! Tests of the list of shares and of what paths mean.
