//! Attacks by a peer that was let in, over TCP.
