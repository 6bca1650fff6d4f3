//! The guest image: what it is made of, how it is built, how it is checked before each boot.
