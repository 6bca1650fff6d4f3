//! Tests of the vsock device: the muxer by itself (`catalogue`, `half_close`, `model`), and the whole device behind a driver
//! twin (`device`, `bulk`).

mod bench;
mod catalogue;
mod half_close;
