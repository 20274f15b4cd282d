//! A line between two processes of one machine: a socket, with the length in four bytes before each message.

use std::{io, os::fd::AsFd as _, os::unix::net::UnixStream as StdStream};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
};
use ws_swarm::Line;

/// Messages on their way.
const QUEUE: usize = 64;

/// The end of whoever leads.
pub(super) fn to_child(stream: StdStream) -> io::Result<Line> {
    Ok(carry(stream)?.0)
}

/// The end of a child: its standard input. The handle ends when everything is written.
pub(super) fn to_parent() -> io::Result<(Line, JoinHandle<()>)> {
    carry(StdStream::from(io::stdin().as_fd().try_clone_to_owned()?))
}

fn carry(stream: StdStream) -> io::Result<(Line, JoinHandle<()>)> {
    stream.set_nonblocking(true)?;
    let (reads, writes) = UnixStream::from_std(stream)?.into_split();
    let (to, outgoing) = mpsc::channel(QUEUE);
    let (incoming, from) = mpsc::channel(QUEUE);
    // An error is the end of the line, which the other side of the channel sees.
    tokio::spawn(async move { drop(read(BufReader::new(reads), incoming).await) });
    let writer = tokio::spawn(async move { drop(write(BufWriter::new(writes), outgoing).await) });
    Ok((Line { clock: super::own_clock(), to, from }, writer))
}

async fn read(mut stream: BufReader<OwnedReadHalf>, to: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    loop {
        let len = stream.read_u32_le().await? as usize;
        let mut message = vec![0; len];
        stream.read_exact(&mut message).await?;
        if to.send(message).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(mut stream: BufWriter<OwnedWriteHalf>, mut from: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(message) = from.recv().await {
        let len = u32::try_from(message.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        stream.write_u32_le(len).await?;
        stream.write_all(&message).await?;
        if from.is_empty() {
            stream.flush().await?;
        }
    }
    stream.shutdown().await
}
