//! Opens the listeners: a Unix socket, loopback TCP, and the read-only one for Prometheus.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use actix::Addr;
use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use peerstage_core::config::Config;

use super::{
    actor::Admin,
    door::Door,
    events::Streams,
    guard::{self, Guard},
    http::{self, Routes},
    metrics::Numbers,
    pages,
    token::{Token, TokenError},
};

/// The longest path of a Unix socket, bytes (`sun_path` of Linux, with its zero).
pub const SOCKET_PATH_MAX: usize = 107;
/// A client that has not sent its request by then is dropped. A guess: a local client needs
/// milliseconds.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections to one listener at a time; event streams, and connections that wait for their
/// client (the `door` module), have lower limits of their own.
const CONNECTIONS_MAX: usize = 128;
/// How long answers under way may take when the node stops.
const STOP_SECONDS: u64 = 1;

/// What to open.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// The Unix socket.
    pub socket: Option<PathBuf>,
    /// The TCP address, loopback only, and the file of its token.
    pub tcp: Option<(SocketAddr, PathBuf)>,
    /// Where metrics and probes are.
    pub metrics: Option<SocketAddr>,
}

/// Why a listener can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The path does not fit the system's structure.
    #[error("{}: a socket's path may have {SOCKET_PATH_MAX} bytes, this one has {bytes}; set admin.socket to a shorter absolute path", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length, bytes.
        bytes: usize,
    },
    /// Somebody listens there.
    #[error("{}: another node listens at this socket; stop it, or choose another data directory", .0.display())]
    SocketInUse(PathBuf),
    /// Something that is no socket is in the way.
    #[error("{}: something that is no socket is in the way; move it, or set admin.socket", .0.display())]
    NotASocket(PathBuf),
    /// The address is not this machine's own.
    #[error("{0} is not a loopback address; set admin.listen to one such as 127.0.0.1:30402")]
    NotLoopback(SocketAddr),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The socket's file.
    #[error("{}: {error}", path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The TCP address.
    #[error("can't listen at {address} ({key}): {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The key that says so.
        key: &'static str,
        /// Why not.
        error: io::Error,
    },
}

/// The open listeners.
pub struct AdminServers {
    handles: Vec<ServerHandle>,
    socket: Option<PathBuf>,
    /// Where TCP listens, with the port that was free.
    pub tcp: Option<SocketAddr>,
    /// Where metrics are, with the port that was free.
    pub metrics: Option<SocketAddr>,
}

impl Listeners {
    /// What a configuration asks for.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let admin = &config.admin;
        let tcp = admin.listen.as_option();
        let metrics = &config.metrics;
        Listeners {
            socket: admin.socket.as_option().map(|path| config.path(path)),
            tcp: tcp.map(|at| (socket_address(*at), config.path(&admin.token_file))),
            metrics: metrics.enabled.then(|| socket_address(metrics.listen)),
        }
    }
}

fn socket_address(address: peerstage_core::address::Address) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

impl AdminServers {
    /// Opens the listeners. Must be called on a thread that runs an actix system.
    ///
    /// # Errors
    /// [`ServeError`]; whatever was open is closed again.
    pub fn start(
        listeners: &Listeners,
        admin: &Addr<Admin>,
        numbers: Option<Numbers>,
    ) -> Result<Self, ServeError> {
        let routes = Routes {
            admin: admin.clone().recipient(),
            follow: admin.clone().recipient(),
            streams: Streams::new(),
            numbers,
        };
        let mut servers =
            AdminServers { handles: Vec::new(), socket: None, tcp: None, metrics: None };
        if let Some((address, token_file)) = &listeners.tcp {
            if !address.ip().is_loopback() {
                return Err(ServeError::NotLoopback(*address));
            }
            let token = Token::load_or_create(token_file)?;
            let (listener, address) = bind_tcp(*address, "admin.listen")?;
            servers.serve_admin(Bound::Tcp(listener), Guard::Token(token), &routes)?;
            servers.tcp = Some(address);
        }
        if let Some(address) = listeners.metrics {
            let (listener, address) = bind_tcp(address, "metrics.listen")?;
            servers.serve_probes(listener, &routes)?;
            servers.metrics = Some(address);
        }
        if let Some(path) = &listeners.socket {
            let listener = bind_socket(path)?;
            servers.socket = Some(path.clone());
            servers.serve_admin(Bound::Unix(listener, path), Guard::Named, &routes)?;
        }
        Ok(servers)
    }

    fn serve_admin(
        &mut self,
        bound: Bound<'_>,
        guard: Guard,
        routes: &Routes,
    ) -> Result<(), ServeError> {
        let routes = routes.clone();
        self.serve(bound, move || {
            let (guard, routes) = (guard.clone(), routes.clone());
            Box::new(move |config: &mut ServiceConfig| {
                config.app_data(web::Data::new(guard.clone()));
                http::configure(&routes, config);
            })
        })
    }

    /// Probes and Prometheus address the machine by whatever name it has, and only read.
    fn serve_probes(&mut self, listener: TcpListener, routes: &Routes) -> Result<(), ServeError> {
        let routes = routes.clone();
        self.serve(Bound::Tcp(listener), move || {
            let routes = routes.clone();
            Box::new(move |config: &mut ServiceConfig| {
                config.app_data(web::Data::new(Guard::Open));
                pages::configure(&routes.numbers, &routes.admin, config);
            })
        })
    }

    fn serve(
        &mut self,
        bound: Bound<'_>,
        configure: impl Fn() -> Box<dyn Fn(&mut ServiceConfig)> + Send + Clone + 'static,
    ) -> Result<(), ServeError> {
        let door = Door::default();
        let server =
            HttpServer::new(move || App::new().wrap(from_fn(guard::check)).configure(configure()))
                .workers(1)
                .disable_signals()
                .shutdown_timeout(STOP_SECONDS)
                .max_connections(CONNECTIONS_MAX)
                .client_request_timeout(REQUEST_TIMEOUT)
                .on_connect(move |socket, connection| {
                    if let Some(guest) = door.enter(socket) {
                        connection.insert(guest);
                    }
                });
        let server = match bound {
            Bound::Tcp(listener) => {
                let address = listener.local_addr();
                server.listen(listener).map_err(|error| ServeError::Listen {
                    address: address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0))),
                    key: "admin.listen",
                    error,
                })?
            }
            Bound::Unix(listener, path) => server
                .listen_uds(listener)
                .map_err(|error| ServeError::Socket { path: path.to_owned(), error })?,
        };
        let server = server.run();
        self.handles.push(server.handle());
        actix_rt::spawn(server);
        Ok(())
    }

    /// Closes the listeners, after the answers under way, and removes the socket.
    pub async fn stop(mut self) {
        if let Some(path) = self.socket.take() {
            let _ = fs::remove_file(path);
        }
        let handles = std::mem::take(&mut self.handles);
        // Streams never end by themselves: nothing is waited for.
        futures_util::future::join_all(handles.iter().map(|handle| handle.stop(false))).await;
    }
}

impl Drop for AdminServers {
    fn drop(&mut self) {
        if let Some(path) = self.socket.take() {
            let _ = fs::remove_file(path);
        }
        for handle in &self.handles {
            // The future is only a way to wait; the order is given at once.
            drop(handle.stop(false));
        }
    }
}

enum Bound<'a> {
    Tcp(TcpListener),
    Unix(UnixListener, &'a Path),
}

fn bind_tcp(
    address: SocketAddr,
    key: &'static str,
) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |error| ServeError::Listen { address, key, error };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Binds the socket with mode 0600. One that a crash left behind is removed; one where somebody
/// listens is not.
fn bind_socket(path: &Path) -> Result<UnixListener, ServeError> {
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_MAX {
        return Err(ServeError::PathTooLong { path: path.to_owned(), bytes });
    }
    let failed = |error| ServeError::Socket { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ServeError::NotASocket(path.to_owned()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(ServeError::SocketInUse(path.to_owned()));
        }
        Ok(_) => fs::remove_file(path).map_err(failed)?,
    }
    // Bound under a name of its own and made private before it gets the name that clients know,
    // so that there is no moment at which others could open it.
    let staged = path.with_extension("new");
    let staged = if staged.as_os_str().len() > SOCKET_PATH_MAX { path } else { staged.as_path() };
    let _ = fs::remove_file(staged);
    let listener = UnixListener::bind(staged).map_err(failed)?;
    fs::set_permissions(staged, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    if staged != path {
        fs::rename(staged, path).map_err(failed)?;
    }
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_private_and_a_stale_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let first = bind_socket(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind_socket(&path), Err(ServeError::SocketInUse(_))));
        drop(first);
        assert!(bind_socket(&path).is_ok());
    }

    #[test]
    fn a_path_that_is_too_long_or_taken_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(120));
        let error = bind_socket(&long).unwrap_err();
        assert!(error.to_string().contains("may have 107 bytes"), "{error}");
        let file = folder.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(matches!(bind_socket(&file), Err(ServeError::NotASocket(_))));
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }
}
