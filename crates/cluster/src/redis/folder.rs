//! Where a private Redis keeps its data: a temporary folder that says whose it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::statvfs;
use tempfile::TempDir;

const PREFIX: &str = "ws-redis-";

/// Room for the log of a long run, in bytes.
const AMPLE: u64 = 1 << 30;

/// A new one; those that killed processes left behind go.
pub(super) fn create() -> io::Result<TempDir> {
    let all = home();
    remove_orphans(&all);
    tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", std::process::id())).tempdir_in(all)
}

/// In memory where that can be had: Redis writes each command through to its disk before it answers, and a disk that
/// somebody else keeps busy would stall it for seconds, as no fault of the plan.
fn home() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let is_ours = tempfile::Builder::new().prefix(PREFIX).tempfile_in(memory).is_ok();
    // A container has 64 MiB of it, which a long run fills.
    let is_ample = statvfs(memory).is_ok_and(|all| all.f_bavail * all.f_frsize >= AMPLE);
    if is_ours && is_ample { memory.to_owned() } else { std::env::temp_dir() }
}

/// Removes what is in it.
pub(super) fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove_orphans(all: &Path) {
    let Ok(entries) = fs::read_dir(all) else { return };
    for entry in entries.flatten() {
        let owner = entry.file_name().to_str().and_then(owner);
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Somebody else's, or removed by somebody else: then it is none of our business.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that made the folder of this name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_dead_processes_are_removed() {
        let all = tempfile::tempdir().expect("a folder");
        // No process has an id above 2^22 (proc(5), pid_max).
        let names = ["ws-redis-99999999-x".to_owned(), format!("ws-redis-{}-x", std::process::id())];
        let others = ["ws-redis-x".to_owned(), "other-99999999-x".to_owned()];
        for name in names.iter().chain(&others) {
            fs::create_dir(all.path().join(name)).expect("created");
            fs::write(all.path().join(name).join("data"), "x").expect("written");
        }
        remove_orphans(all.path());
        let is_there = |name: &String| all.path().join(name).exists();
        assert!(!is_there(&names[0]) && is_there(&names[1]) && others.iter().all(is_there));
        empty(&all.path().join(&names[1])).expect("emptied");
        assert!(is_there(&names[1]) && !all.path().join(&names[1]).join("data").exists());
    }
}
