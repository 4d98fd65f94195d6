//! Asks a running node, over its Unix socket or loopback TCP.

use std::{io, path::PathBuf, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::admin::{SOCKET_PATH_MAX, Token};

/// How long a node may take to answer. A guess: a ban waits for the disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a node is asked.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// Its Unix socket.
    Socket(PathBuf),
    /// Its TCP address, `HOST:PORT`, and the token.
    Tcp {
        /// Where.
        address: String,
        /// What it asks for.
        token: Token,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no node is running at {0}; start one with `peerstage run`")]
    NoNode(String),
    /// The socket may not be opened.
    #[error("{0}: permission denied; run this as the user that runs the node")]
    Denied(String),
    /// The path is too long for a socket.
    #[error("{}: a socket's path may have {SOCKET_PATH_MAX} bytes; give a shorter one with --socket", .0.display())]
    PathTooLong(PathBuf),
    /// Not `http://HOST:PORT`.
    #[error("{0:?} is no admin address; expected http://HOST:PORT")]
    Address(String),
    /// The node refused, and said why.
    #[error("{error}{}", after(.hint))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Why.
        error: String,
        /// What to do.
        hint: String,
    },
    /// The connection broke.
    #[error("{place}: {error}")]
    Broken {
        /// Where.
        place: String,
        /// How.
        error: String,
    },
    /// The node is there and says nothing.
    #[error("{0}: no answer within 30 s; the node's log may say why")]
    Silent(String),
}

fn after(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; {hint}") }
}

/// Asks one node, with a connection for each question.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
}

impl Client {
    /// A client of the node at this place.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Client { endpoint }
    }

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// [`ClientError`]: nobody listens, or the node refused.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let answer = async {
            let response = self.send(method, path, body).await?;
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.map_err(|error| self.broken(&error))?.to_bytes();
            self.judge(parts.status.as_u16(), &bytes)
        };
        let place = self.place();
        tokio::time::timeout(ANSWER_TIMEOUT, answer)
            .await
            .map_err(|_| ClientError::Silent(place))?
    }

    /// As [`Client::call`] with `GET`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.call(Method::GET, path, None).await
    }

    /// Follows a stream of lines until the node ends it or `on_line` says that it has enough.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn follow(
        &self,
        path: &str,
        mut on_line: impl FnMut(&str) -> bool,
    ) -> Result<(), ClientError> {
        let response = self.send(Method::GET, path, None).await?;
        let (parts, mut body) = response.into_parts();
        if !parts.status.is_success() {
            let bytes = body.collect().await.map_err(|error| self.broken(&error))?.to_bytes();
            return self.judge(parts.status.as_u16(), &bytes).map(drop);
        }
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.broken(&error))?;
            rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if !on_line(String::from_utf8_lossy(&line).trim_end()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, ClientError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Endpoint::Tcp { token, .. } = &self.endpoint {
            request = request.header(AUTHORIZATION, token.header().as_str());
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| self.broken(&error))?;
        let mut sender = self.connect().await?;
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        match &self.endpoint {
            Endpoint::Socket(path) if path.as_os_str().len() > SOCKET_PATH_MAX => {
                Err(ClientError::PathTooLong(path.clone()))
            }
            Endpoint::Socket(path) => {
                let stream = UnixStream::connect(path).await;
                self.handshake(stream.map_err(|error| self.unreachable(&error))?).await
            }
            Endpoint::Tcp { address, .. } => {
                let stream = TcpStream::connect(address.as_str()).await;
                self.handshake(stream.map_err(|error| self.unreachable(&error))?).await
            }
        }
    }

    async fn handshake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
    ) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(&error))?;
        // Its errors also reach the request.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn judge(&self, status: u16, bytes: &[u8]) -> Result<Value, ClientError> {
        let value: Option<Value> = serde_json::from_slice(bytes).ok();
        if (200..300).contains(&status) {
            return value.ok_or_else(|| self.broken(&"the answer is not JSON"));
        }
        let text = |key: &str| {
            let text = value.as_ref().and_then(|value| value.get(key)).and_then(Value::as_str);
            text.map(str::to_owned)
        };
        let error = text("error").unwrap_or_else(|| format!("HTTP status {status}"));
        Err(ClientError::Refused { status, error, hint: text("hint").unwrap_or_default() })
    }

    fn place(&self) -> String {
        match &self.endpoint {
            Endpoint::Socket(path) => path.display().to_string(),
            Endpoint::Tcp { address, .. } => address.clone(),
        }
    }

    fn unreachable(&self, error: &io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NoNode(self.place())
            }
            io::ErrorKind::PermissionDenied => ClientError::Denied(self.place()),
            _ => self.broken(error),
        }
    }

    fn broken(&self, error: &impl ToString) -> ClientError {
        ClientError::Broken { place: self.place(), error: error.to_string() }
    }
}
