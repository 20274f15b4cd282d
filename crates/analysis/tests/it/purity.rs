//! wire, workload and analysis do no I/O: their normal dependencies hold nothing that could.

use std::process::Command;

const IO_CRATES: &[&str] = &[
    "tokio",
    "mio",
    "socket2",
    "hyper",
    "axum",
    "redis",
    "rustix",
    "nix",
    "getrandom",
    "polling",
    "async-std",
];

#[test]
fn pure_crates_depend_on_nothing_that_does_io() {
    for package in ["ws-wire", "ws-workload", "ws-analysis"] {
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--edges",
                "normal",
                "--prefix",
                "none",
                "--format",
                "{p}",
                "--package",
                package,
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs: it runs this test");
        let tree = String::from_utf8(output.stdout).expect("text");
        assert!(tree.starts_with(package), "{}", String::from_utf8_lossy(&output.stderr));
        let names = tree.lines().filter_map(|line| line.split(' ').next());
        let found: Vec<_> = names.filter(|name| IO_CRATES.contains(name)).collect();
        assert!(found.is_empty(), "{package} depends on {found:?}");
    }
}
