//! Real links over QUIC on the loopback interface.

mod admission;
mod flow;
mod hostile;
mod loss;
mod many;
mod world;
