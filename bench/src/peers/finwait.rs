//! Our own server, by its engines: in this process, so that all that is compared was built alike.

use std::ffi::OsString;

use clap::Parser;
use finwait_server::config::{Cli, Config};
use finwait_server::engine::EngineKind;
use finwait_server::server::Server;

use super::{Failure, Job, say_listening};

pub(super) fn uring(job: &Job) -> Result<(), Failure> {
    serve(EngineKind::Uring, job)
}

pub(super) fn mio(job: &Job) -> Result<(), Failure> {
    serve(EngineKind::Mio, job)
}

pub(super) fn tokio_uring(job: &Job) -> Result<(), Failure> {
    serve(EngineKind::TokioUring, job)
}

/// Nothing is logged: neither do the others.
fn serve(engine: EngineKind, job: &Job) -> Result<(), Failure> {
    let config = config(engine, job)?;
    let server = Server::start(&config).map_err(|error| Failure::Failed(error.to_string()))?;
    for addr in server.addrs() {
        say_listening(addr)?;
    }
    for addr in server.ledger_addrs() {
        say_listening(format_args!("{addr} for the ledger"))?;
    }
    server.join()?;
    Ok(())
}

/// What finwait-server would make of these flags, with one worker unless they say otherwise.
fn config(engine: EngineKind, job: &Job) -> Result<Config, Failure> {
    let mut line: Vec<OsString> = vec!["finwait-server".into()];
    line.extend(["--engine", engine.name(), "--listen"].map(Into::into));
    line.push(job.listen.to_string().into());
    if !job.args.iter().any(|arg| arg.to_string_lossy().starts_with("--workers")) {
        line.extend(["--workers", "1"].map(Into::into));
    }
    line.extend(job.args.iter().cloned());
    let cli = Cli::try_parse_from(line).unwrap_or_else(|error| error.exit());
    match cli.command {
        None => Ok(cli.serve.into()),
        Some(_) => Err(Failure::Usage("flags of a finwait-server that serves are expected".to_owned())),
    }
}
