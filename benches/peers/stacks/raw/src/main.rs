//! The floors: tokio TCP without any protection, and the Noise protocol by snow over it.

mod flood;
mod noise;

use std::{process::ExitCode, sync::Arc};

use anyhow::{Result, bail};
use kit::{
    Job, Role, Task,
    pipe::{self, StreamSink, StreamSource, connect_all},
};
use tokio::net::{TcpListener, TcpStream};

/// `tcp`, or `noise`.
#[derive(Clone, Copy)]
enum Variant {
    Tcp,
    Noise,
}

fn main() -> ExitCode {
    kit::on_tokio(async |job| {
        let variant = match job.variant.as_str() {
            "tcp" => Variant::Tcp,
            "noise" => Variant::Noise,
            other => bail!("unknown variant {other}"),
        };
        match job.role {
            Role::Serve => serve(variant, job).await,
            Role::Drive => drive(variant, job).await,
            Role::Mesh => flood::mesh(job).await,
        }
    })
}

async fn serve(variant: Variant, job: Job) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    job.control.ready(listener.local_addr()?);
    let accepting = tokio::spawn(accept(variant, listener, job.clone()));
    job.control.started().await?;
    job.control.stopped().await?;
    accepting.abort();
    Ok(())
}

async fn accept(variant: Variant, listener: TcpListener, job: Job) -> Result<()> {
    let keys = Arc::new(noise::keypair()?);
    let mut kept = Vec::new();
    let (usable, mut established) = tokio::sync::mpsc::channel(1024);
    if let Task::Handshake { count, .. } = job.task {
        let control = job.control.clone();
        tokio::spawn(async move {
            for _ in 0..count {
                kept.push(established.recv().await);
            }
            control.complete();
            std::future::pending::<()>().await;
        });
    }
    loop {
        let (stream, _) = listener.accept().await?;
        let (keys, usable, job) = (keys.clone(), usable.clone(), job.clone());
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            match (variant, job.task) {
                (Variant::Tcp, Task::Handshake { .. } | Task::Idle { .. }) => {
                    usable.send(Kept::Tcp(stream)).await?;
                }
                (Variant::Tcp, task) => {
                    let (reader, writer) = stream.into_split();
                    let ends = (StreamSink::new(writer), StreamSource::new(reader));
                    pipe::serve(ends.0, ends.1, task, job.control).await?;
                }
                (Variant::Noise, task) => {
                    let (sink, source) = noise::respond(stream, &keys).await?;
                    match task {
                        Task::Handshake { .. } | Task::Idle { .. } => {
                            usable.send(Kept::Noise(sink, source)).await?;
                        }
                        task => pipe::serve(sink, source, task, job.control).await?,
                    }
                }
            }
            anyhow::Ok(())
        });
    }
}

/// A connection that is usable and has nothing to do.
enum Kept {
    Tcp(TcpStream),
    Noise(noise::NoiseSink, noise::NoiseSource),
}

async fn connect(variant: Variant, address: &str) -> Result<Kept> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    match variant {
        Variant::Tcp => Ok(Kept::Tcp(stream)),
        Variant::Noise => {
            let (sink, source) = noise::initiate(stream, &noise::keypair()?).await?;
            Ok(Kept::Noise(sink, source))
        }
    }
}

async fn drive(variant: Variant, job: Job) -> Result<()> {
    let Job { task, address, control, .. } = job;
    match task {
        Task::Handshake { count, in_flight } => {
            control.ready("");
            control.started().await?;
            // Connections stay open, as the other stacks' do.
            let (keep, _kept) = tokio::sync::mpsc::channel(count);
            connect_all((0..count).collect(), in_flight, move |_| {
                let (keep, address) = (keep.clone(), address.clone());
                async move { Ok(keep.send(connect(variant, &address).await?).await?) }
            })
            .await?;
            control.complete();
            control.stopped().await
        }
        Task::Idle { connections, seconds } => {
            let mut kept = Vec::new();
            for _ in 0..connections {
                kept.push(connect(variant, &address).await?);
            }
            control.ready("");
            control.started().await?;
            tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
            control.complete();
            control.stopped().await
        }
        task => match connect(variant, &address).await? {
            Kept::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                control.ready("");
                let ends = (StreamSink::new(writer), StreamSource::new(reader));
                pipe::drive(ends.0, ends.1, task, &control).await
            }
            Kept::Noise(sink, source) => {
                control.ready("");
                pipe::drive(sink, source, task, &control).await
            }
        },
    }
}
