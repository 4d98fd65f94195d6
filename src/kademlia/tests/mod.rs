//! Stories of the discovery machine, and a network of a thousand of them.

mod abuse;
mod network;
mod rules;
mod scale;
mod seeking;
