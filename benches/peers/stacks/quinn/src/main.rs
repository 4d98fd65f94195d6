//! quinn: one QUIC connection, one bidirectional stream.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, anyhow, bail, ensure};
use kit::{
    Job, Role, Task,
    pipe::{self, StreamSink, StreamSource, connect_all},
};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tokio::sync::mpsc;

/// The name in the server's certificate.
const NAME: &str = "localhost";

fn main() -> ExitCode {
    kit::on_tokio(async |job| match job.role {
        Role::Serve => serve(job).await,
        Role::Drive => drive(job).await,
        Role::Mesh => bail!("QUIC alone does not broadcast"),
    })
}

async fn serve(job: Job) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::with_single_cert(vec![certificate.clone()], key.into())?;
    let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into())?;
    let text: String = certificate.iter().map(|byte| format!("{byte:02x}")).collect();
    job.control.ready(format!("{}/{text}", endpoint.local_addr()?));
    let accepting = tokio::spawn(accept(endpoint, job.clone()));
    job.control.started().await?;
    job.control.stopped().await?;
    accepting.abort();
    Ok(())
}

async fn accept(endpoint: Endpoint, job: Job) -> Result<()> {
    let (usable, mut established) = mpsc::channel(1_024);
    let (control, task) = (job.control.clone(), job.task);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Some(connection) = established.recv().await {
            kept.push(connection);
            if matches!(task, Task::Handshake { count, .. } if count == kept.len()) {
                control.complete();
            }
        }
    });
    while let Some(incoming) = endpoint.accept().await {
        let (usable, job) = (usable.clone(), job.clone());
        tokio::spawn(async move {
            let connection = incoming.await?;
            if matches!(job.task, Task::Send { .. } | Task::Request { .. }) {
                let (sink, mut source) = connection.accept_bi().await?;
                // The stream opened with a byte of its own.
                source.read_exact(&mut [0]).await?;
                let ends = (StreamSink::new(sink), StreamSource::new(source));
                pipe::serve(ends.0, ends.1, job.task, job.control).await?;
            } else {
                usable.send(connection).await?;
            }
            anyhow::Ok(())
        });
    }
    Ok(())
}

fn endpoint(certificate: &CertificateDer<'static>) -> Result<Endpoint> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
    endpoint.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots))?);
    Ok(endpoint)
}

async fn connect(endpoint: Endpoint, server: SocketAddr) -> Result<(Endpoint, Connection)> {
    let connection = endpoint.connect(server, NAME)?.await?;
    Ok((endpoint, connection))
}

async fn drive(job: Job) -> Result<()> {
    let Job { task, address, control, .. } = job;
    let (server, hex) = address.split_once('/').ok_or_else(|| anyhow!("no certificate"))?;
    let server: SocketAddr = server.parse()?;
    ensure!(hex.len().is_multiple_of(2), "half a byte");
    let digits = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
    let certificate = CertificateDer::from(digits.collect::<Result<Vec<u8>, _>>()?);
    let (count, in_flight) = match task {
        Task::Handshake { count, in_flight } => (count, in_flight),
        Task::Idle { connections, .. } => (connections, 1),
        task => {
            let (_endpoint, connection) = connect(endpoint(&certificate)?, server).await?;
            let (mut sink, source) = connection.open_bi().await?;
            sink.write_all(&[0]).await?;
            control.ready("");
            let ends = (StreamSink::new(sink), StreamSource::new(source));
            return pipe::drive(ends.0, ends.1, task, &control).await;
        }
    };
    let endpoints: Result<Vec<_>> = (0..count).map(|_| endpoint(&certificate)).collect();
    let (keep, _kept) = mpsc::channel(count);
    let connect_one = move |endpoint| {
        let keep = keep.clone();
        async move { Ok(keep.send(connect(endpoint, server).await?).await?) }
    };
    if let Task::Idle { seconds, .. } = task {
        connect_all(endpoints?, in_flight, connect_one).await?;
        control.ready("");
        control.started().await?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    } else {
        control.ready("");
        control.started().await?;
        connect_all(endpoints?, in_flight, connect_one).await?;
    }
    control.complete();
    control.stopped().await
}
