//! Writes the history of a run, compressed, on a thread of its own.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::mpsc::{SyncSender, sync_channel},
    thread::JoinHandle,
};

use anyhow::Context as _;
use ws_analysis::{history::Footer, report::Report, timeline::Timeline, verdict::Facts};

/// Its name in the folder of the report.
pub(crate) const NAME: &str = "history.jsonl.zst";

/// Chunks that wait for the disk; then the workers wait, which shows as the generator's lag.
const WAITING: usize = 64;

/// A history that is being written.
pub(crate) struct Writer {
    lines: SyncSender<Vec<u8>>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Writer {
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(NAME);
        let file = File::create(&path).with_context(|| format!("--history {}", path.display()))?;
        let (lines, to_write) = sync_channel::<Vec<u8>>(WAITING);
        let thread = std::thread::spawn(move || {
            let mut encoder = zstd::Encoder::new(BufWriter::new(file), 1)?;
            for chunk in to_write {
                encoder.write_all(&chunk)?;
            }
            encoder.finish()?.flush()
        });
        Ok(Self { lines, thread })
    }

    /// Where the workers write.
    pub(crate) fn lines(&self) -> SyncSender<Vec<u8>> {
        self.lines.clone()
    }

    /// The last line, and the end of the file.
    pub(crate) fn finish(self, timeline: &Timeline, facts: &Facts, report: &Report) -> anyhow::Result<()> {
        let report = serde_json::to_value(report).context("the report is no JSON")?;
        let footer = Footer { timeline: timeline.clone(), facts: facts.clone(), report };
        let mut line = serde_json::to_vec(&footer).context("the facts are no JSON")?;
        line.push(b'\n');
        // An error: the thread ended, and says why.
        let _ = self.lines.send(line);
        drop(self.lines);
        self.thread.join().expect("it does not panic").context("the history can't be written")
    }
}
