//! Room for the sockets in the process's table of open files.

use std::{fs::File, os::fd::AsRawFd as _};

use rustix::io::fcntl_dupfd_cloexec;

/// Lets the table take `more` files before they come. By itself it grows when it is full, by half a dozen doublings to
/// ten thousand sockets, and for each a process of several threads waits for a grace period of RCU (`expand_fdtable` in
/// Linux' fs/file.c): some ten milliseconds in which nothing connects.
pub(crate) fn make_room(more: usize) {
    let Ok(file) = File::open("/dev/null") else { return };
    let last = usize::try_from(file.as_raw_fd()).unwrap_or(0).saturating_add(more);
    // An error: they do not fit, or the table grows by itself.
    let _ = fcntl_dupfd_cloexec(&file, i32::try_from(last).unwrap_or(i32::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_room_before_the_files_come() {
        let size = || {
            let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
            let line = status.lines().find_map(|line| line.strip_prefix("FDSize:")).expect("a line of it");
            line.trim().parse::<usize>().expect("a number")
        };
        let more = size() + 1;
        make_room(more);
        assert!(size() > more, "{} files fit, {more} were to", size());
        // More than can ever be open: nothing happens.
        make_room(usize::MAX);
    }
}
