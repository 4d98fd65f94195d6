//! Control messages between actors, without `do_send`.

use actix::{Message, Recipient, dev::SendError};

/// Sends a control message if the receiver lives and its mailbox has room; counts it under
/// `name` otherwise. Returns whether it was sent.
pub fn tell<M>(name: &'static str, recipient: &Recipient<M>, message: M) -> bool
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    let reason = match recipient.try_send(message) {
        Ok(()) => return true,
        Err(SendError::Full(_)) => "full",
        Err(SendError::Closed(_)) => "closed",
    };
    metrics::counter!("peerstage_tell_dropped_total", "message" => name, "reason" => reason)
        .increment(1);
    false
}
