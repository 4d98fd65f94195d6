//! Whether the machine's clock is right: it decides which votes count.

use tokio::net::UdpSocket;

use super::{Finding, PATIENCE};
use crate::clock::Clock;

/// Seconds between NTP's epoch, 1900, and Unix's (RFC 5905 section 6).
const NTP_EPOCH: u64 = 2_208_988_800;
/// Bytes of an SNTP message (RFC 5905 section 7.3).
const MESSAGE: usize = 48;
/// Leap 0, version 4, mode 3: a client's question.
const QUESTION: u8 = 0b00_100_011;
/// What an answer's mode is.
const SERVER_MODE: u8 = 4;

/// An offset that validators notice, and one at which votes are thrown away, ms: a vote's time may
/// be off by 30 s (`peerstage_core::relay`).
const NOTICED: i128 = 500;
const HARMFUL: i128 = 30_000;

/// Compares the clock with a time server's (SNTP, RFC 5905 section 14).
pub(super) async fn clock(server: &str) -> Finding {
    let check = "clock";
    if server == "none" {
        return Finding::skipped(check, "--time-server none");
    }
    let asked = tokio::time::timeout(PATIENCE, offset(server)).await;
    let outcome = asked.unwrap_or_else(|_| Err(format!("{server} does not answer")));
    let sync = "let the system keep the time: `timedatectl set-ntp true`, or chrony";
    match outcome {
        Err(why) => Finding::warning(
            check,
            format!("not compared: {why}"),
            "allow UDP port 123, or name another with --time-server",
        ),
        Ok(offset) if offset.abs() > HARMFUL => {
            Finding::bad(check, format!("off by {} s", offset / 1_000), sync)
        }
        Ok(offset) if offset.abs() > NOTICED => {
            Finding::warning(check, format!("off by {offset} ms"), sync)
        }
        Ok(offset) => Finding::good(check, format!("off by {offset} ms from {server}")),
    }
}

/// How far the server's clock is ahead of ours, ms.
async fn offset(server: &str) -> Result<i128, String> {
    let named = if server.contains(':') { server.to_owned() } else { format!("{server}:123") };
    let mut found = tokio::net::lookup_host(&named)
        .await
        .map_err(|error| format!("{server} does not resolve: {error}"))?;
    let address = found.next().ok_or_else(|| format!("{server} has no address"))?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let failed = |error: std::io::Error| format!("{server}: {error}");
    let socket = UdpSocket::bind(any).await.map_err(failed)?;
    socket.connect(address).await.map_err(failed)?;
    let mut question = [0; MESSAGE];
    question[0] = QUESTION;
    let sent = unix_ms();
    socket.send(&question).await.map_err(failed)?;
    let mut answer = [0; MESSAGE];
    let length = socket.recv(&mut answer).await.map_err(failed)?;
    let middle = i128::midpoint(sent, unix_ms());
    let theirs = (length == MESSAGE).then(|| transmitted(&answer)).flatten();
    theirs.map(|theirs| theirs - middle).ok_or_else(|| format!("{server} is no time server"))
}

fn unix_ms() -> i128 {
    i128::from(Clock::system().wall().0)
}

/// The transmit timestamp: seconds since 1900 and their 2^32nd parts, in the last eight bytes.
fn transmitted(answer: &[u8; MESSAGE]) -> Option<i128> {
    let [first, .., a, b, c, d, e, f, g, h] = *answer;
    if first & 0b111 != SERVER_MODE {
        return None;
    }
    let seconds = u64::from(u32::from_be_bytes([a, b, c, d])).checked_sub(NTP_EPOCH)?;
    let fraction = u64::from(u32::from_be_bytes([e, f, g, h]));
    Some(i128::from(seconds) * 1_000 + i128::from((fraction * 1_000) >> 32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::doctor::Outcome;

    /// A server whose clock is ahead by so many seconds answers one question.
    async fn server(ahead: u64) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let mut question = [0; MESSAGE];
            let (_, from) = socket.recv_from(&mut question).await.unwrap();
            let mut answer = [0; MESSAGE];
            answer[0] = (QUESTION & !0b111) | SERVER_MODE;
            let now = u64::try_from(unix_ms() / 1_000).unwrap() + NTP_EPOCH + ahead;
            answer[40..44].copy_from_slice(&u32::try_from(now).unwrap().to_be_bytes());
            socket.send_to(&answer, from).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_clock_that_is_wrong_is_found_out() {
        assert_eq!(clock(&server(3_600).await).await.outcome, Outcome::Bad);
        assert_eq!(clock(&server(9).await).await.outcome, Outcome::Warning);
        assert_eq!(clock("none").await.outcome, Outcome::Skipped);
    }
}
