//! Real links over QUIC on the loopback interface.

mod admission;
mod flow;
mod loss;
mod many;
mod world;
