//! Tests of the vsock device: the muxer by itself (`catalogue`, `half_close`, `model`), single rounds of the service
//! (`service`), and the whole device behind a guest twin (`device`, `bulk`).

mod bench;
mod bulk;
mod catalogue;
mod device;
mod guest;
mod half_close;
mod idle;
mod model;
mod service;
