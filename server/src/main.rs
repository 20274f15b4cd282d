//! `ws-server`: one replica.

use std::{io::IsTerminal as _, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use ws_server::{args::ServerArgs, healthcheck};

/// A clustered WebSocket room server over Redis.
///
/// Messages sent into a room reach its members on every replica. docs/protocol.md says how to speak to it.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  ws-server                                    on 127.0.0.1:8080, Redis on 127.0.0.1:6379
  ws-server --listen 0.0.0.0:9001 --redis-url redis://10.0.0.5:6379 --node-id app-1
  REDIS_URL=redis://redis:6379 LISTEN=0.0.0.0:8080 NODE_ID=app-1 ws-server
  ws-server --broker memory                    one replica, without Redis
  ws-server healthcheck                        whether the one that listens on LISTEN is ready

It starts while Redis is away; /readyz says when it is ready."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Ends with 0 if a replica is ready, else with 1 and the reason on standard error; for containers
    ///
    /// It waits at most 2 s for the answer.
    Healthcheck {
        /// Whom to ask [default: /readyz on the port of LISTEN]
        url: Option<String>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let Cli { command, server: args } = Cli::parse();
    if let Some(Command::Healthcheck { url }) = command {
        return ask(&url.unwrap_or_else(|| healthcheck::url(args.listen)));
    }
    let filter = EnvFilter::try_new(&args.log).context("--log is not a filter")?;
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(color).with_writer(std::io::stderr).init();
    ws_server::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.threads())
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    runtime.block_on(serve(args)).map(|()| ExitCode::SUCCESS)
}

fn ask(url: &str) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(match runtime.block_on(healthcheck::check(url)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Not as an error of this program: one line, for whoever reads the state of a container.
            eprintln!("not ready: {why}");
            ExitCode::FAILURE
        }
    })
}

async fn serve(args: ServerArgs) -> anyhow::Result<()> {
    let listener = ws_server::listen(args.listen)
        .with_context(|| format!("can't listen on {}; is something else there? (--listen)", args.listen))?;
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("no signals on this system")?;
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        stop.cancel();
    });
    ws_server::run(listener, args.config(), shutdown).await.context("the server failed")
}
