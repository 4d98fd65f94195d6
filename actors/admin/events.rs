//! The event stream: one JSON object a line, with a sign of life when nothing happens.

use std::{convert::Infallible, sync::Arc, time::Duration};

use actix::Recipient;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Interval,
};

use super::{
    actor::{Feed, Follow},
    request::AdminError,
};
use crate::{Notice, Subscription};

/// The longest silence of a stream unless the client asks for another. A guess: below the idle
/// time-outs of usual proxies.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);
/// Limits of what a client may ask for.
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const HEARTBEAT_MAX: Duration = Duration::from_secs(600);
/// Streams open at a time; each holds a connection and a place in the hub of events.
const STREAMS_MAX: usize = 32;

/// Counts the open streams.
#[derive(Clone)]
pub(super) struct Streams(Arc<Semaphore>);

struct Open {
    events: Subscription,
    heartbeat: Interval,
    greeted: bool,
    _permit: OwnedSemaphorePermit,
}

impl Streams {
    pub(super) fn new() -> Self {
        Streams(Arc::new(Semaphore::new(STREAMS_MAX)))
    }

    /// A stream of what happens from now on. Its first line says that it is open.
    pub(super) async fn open(
        &self,
        follow: &Recipient<Follow>,
        heartbeat: Duration,
    ) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + use<>, AdminError> {
        let full = |_| AdminError::TooManyStreams { max: STREAMS_MAX };
        let permit = Arc::clone(&self.0).try_acquire_owned().map_err(full)?;
        let Feed(events) = follow.send(Follow).await.map_err(|_| AdminError::Stopped)?;
        let mut heartbeat = tokio::time::interval(heartbeat.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX));
        heartbeat.reset();
        let open = Open { events, heartbeat, greeted: false, _permit: permit };
        Ok(stream::unfold(open, |mut open| async move {
            let line = open.next_line().await?;
            Some((Ok(line), open))
        }))
    }
}

impl Open {
    /// The next line; `None` when the network has stopped.
    async fn next_line(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            return Some(line(&json!({ "event": "subscribed" })));
        }
        let notice = tokio::select! {
            notice = self.events.next() => notice?,
            _ = self.heartbeat.tick() => return Some(line(&json!({ "event": "heartbeat" }))),
        };
        self.heartbeat.reset();
        match notice {
            Notice::Event(event) => Some(line(&event)),
            Notice::Missed(count) => Some(line(&json!({ "event": "missed", "count": count }))),
        }
    }
}

fn line(value: &impl serde::Serialize) -> Bytes {
    // Every event has string keys and finite numbers, so this does not fail.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    Bytes::from(text)
}
