//! The host side of `lighter`: a table of contents.
