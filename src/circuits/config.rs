//! The knobs of circuits, and the limits that are not knobs.

use crate::time::Millis;

/// Bytes that may be under way on a circuit in each direction, from one end to the other. At 100 ms
/// there and back 640 KB a second: enough to live on, little enough to hold for many.
pub const WINDOW: u32 = 64 * 1024;
/// The receiving end grants anew when so many bytes were read: a quarter, so that the sender seldom
/// waits and one grant pays for a full message.
pub(super) const GRANT: u32 = WINDOW / 4;
/// Circuits that one node has dialled through one relay, and as many that it has taken; more are
/// refused. Both together fill a usual number of peers, and neither takes the other's room.
pub const CIRCUITS_PER_SESSION_MAX: usize = 16;
/// Of those taken through one relay, the ones from one node: one, and one that takes its place.
pub(super) const TAKEN_PER_NODE_MAX: usize = 2;
/// How long the other end may take to answer, ms. As long as a handshake may take.
pub const OPEN_TIMEOUT: Millis = 5_000;
/// How long an end that nobody reads or writes any more may take to send what was written, ms.
pub const LINGER: Millis = 10_000;
/// How long a circuit that is carried may carry nothing, ms: half as long again as a silent
/// connection lasts by default, and six times the ping interval.
pub const IDLE: Millis = 90_000;
/// What a message that is carried costs beside its body, bytes, counted for its opener's quotas:
/// headers, records and packets on two connections. A guess.
pub(super) const MESSAGE_CHARGE: u64 = 64;
/// Circuits that one peer may ask a relay for, and as many that one node may be called by through
/// it: a second, and at once. A guess: a restart asks for a few; a refused node waits longer.
pub(super) const OPENS_PER_SECOND: u32 = 1;
/// See [`OPENS_PER_SECOND`].
pub(super) const OPENS_BURST: u32 = 8;
/// Neighbourhoods use so many times as many bytes an hour as one identity, all together so many
/// times as many. A guess: four busy nodes of one network, four such networks.
pub(super) const GROUP_SHARES: u64 = 4;
/// See [`GROUP_SHARES`].
pub(super) const TOTAL_SHARES: u64 = 16;
/// Closes of one connection that found its queue full and are said again.
pub(super) const UNSAID_MAX: usize = 64;
/// Until they are, ms.
pub(super) const UNSAID_RETRY: Millis = 1_000;
/// Identities, and neighbourhoods, whose use is remembered; when all of them have used something
/// lately, strangers are refused.
pub(super) const IDENTITIES_MAX: usize = 4_096;

/// Who may use this node for what. "Whoever opens" pays for both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitsConfig {
    /// Whether this node takes circuits.
    pub accept: bool,
    /// Whether it carries circuits for others.
    pub serve: bool,
    /// Circuits carried at once.
    pub carried_max: usize,
    /// Of these, opened by one node.
    pub carried_per_peer_max: usize,
    /// Of these, opened from one network group.
    pub carried_per_group_max: usize,
    /// Bytes of one circuit, both directions.
    pub bytes_max: u64,
    /// How long one circuit may last, ms.
    pub time_max: Millis,
    /// Bytes an hour of all circuits that one node opens, both directions; one network group may
    /// use four times as many, and everybody together sixteen times.
    pub bytes_per_hour: u64,
}

impl Default for CircuitsConfig {
    fn default() -> Self {
        CircuitsConfig {
            accept: true,
            serve: true,
            carried_max: 64,
            carried_per_peer_max: 8,
            carried_per_group_max: 32,
            bytes_max: 256 * 1024 * 1024,
            time_max: 2 * 60 * 60 * 1_000,
            bytes_per_hour: 1024 * 1024 * 1024,
        }
    }
}
