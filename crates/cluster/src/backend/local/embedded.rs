//! Replicas in this process, on a runtime of their own.

use std::{net::SocketAddr, thread::JoinHandle};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use ws_server::Config;

/// They run until this is dropped.
#[derive(Debug)]
pub(super) struct Embedded {
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Starts them; returns when all listen, with their addresses.
    pub(super) fn start(configs: Vec<Config>) -> std::io::Result<(Self, Vec<SocketAddr>)> {
        let shutdown = CancellationToken::new();
        let (thread, addresses) = serve_here(configs, shutdown.clone())?;
        Ok((Self { shutdown, thread: Some(thread) }, addresses))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            // It panicked: then it has ended as well.
            let _ = thread.join();
        }
    }
}

fn serve_here(
    configs: Vec<Config>,
    shutdown: CancellationToken,
) -> std::io::Result<(JoinHandle<()>, Vec<SocketAddr>)> {
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for _ in &configs {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        addresses.push(listener.local_addr()?);
        listeners.push(listener);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let serve = async move {
        let mut replicas = tokio::task::JoinSet::new();
        for (config, listener) in configs.into_iter().zip(listeners) {
            let listener = TcpListener::from_std(listener).expect("a listening socket");
            replicas.spawn(ws_server::run(listener, config, shutdown.clone()));
        }
        replicas.join_all().await;
    };
    let thread =
        std::thread::Builder::new().name("replicas".into()).spawn(move || runtime.block_on(serve))?;
    Ok((thread, addresses))
}
