//! Faults by the user's own commands.

use std::{path::Path, time::Duration};

use tokio::time::timeout;
use ws_cluster::fault::{CommandFault, Commands, FaultFailure, Injected, Nemesis};
use ws_workload::fault::Kind;

use crate::{until, world::fault};

const FAULT: &str = "kill-replica@1s for 1500ms on app-2";

fn nemesis(folder: &Path, inject: &str, proof: Option<&str>, heal: Option<&str>) -> Nemesis {
    let there = |command: &str| format!("cd {}; {command}", folder.display());
    let command = CommandFault { inject: there(inject), proof: proof.map(there), heal: heal.map(there) };
    Nemesis::Commands(Commands([(Kind::KillReplica, command)].into()))
}

async fn inject(nemesis: &Nemesis) -> Result<Injected, FaultFailure> {
    nemesis.inject(&fault(FAULT), 0).await
}

#[tokio::test]
async fn commands_inject_prove_and_heal_and_are_told_what() {
    let folder = tempfile::tempdir().expect("a folder");
    let nemesis = nemesis(
        folder.path(),
        "echo $WS_FAULT $WS_NODE $WS_SECONDS > broken",
        Some("cat proven && test -e proven"),
        Some("rm broken && echo mended"),
    );
    let mut injected = inject(&nemesis).await.expect("injected");
    assert_eq!(injected.on, ["app-2"]);
    let told = std::fs::read_to_string(folder.path().join("broken")).expect("injected");
    assert_eq!(told, "kill-replica app-2 1.5\n");
    // Not before the proof says so.
    assert!(timeout(Duration::from_millis(50), injected.effective()).await.is_err());
    std::fs::write(folder.path().join("proven"), "it is down\nand out\n").expect("written");
    assert_eq!(timeout(Duration::from_secs(10), injected.effective()).await.as_deref(), Ok("it is down"));
    assert_eq!(injected.heal().await.as_deref(), Ok("mended"));
    assert!(!folder.path().join("broken").exists());
}

#[tokio::test]
async fn dropped_it_is_healed_by_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let nemesis = nemesis(folder.path(), "touch broken", Some("true"), Some("rm broken"));
    let injected = inject(&nemesis).await.expect("injected");
    assert!(folder.path().join("broken").exists());
    drop(injected);
    until(|| !folder.path().join("broken").exists()).await;
}

#[tokio::test]
async fn a_failure_says_what_the_command_said_and_is_healed() {
    let folder = tempfile::tempdir().expect("a folder");
    let inject_command = "touch broken && echo no such host >&2 && exit 7";
    let nemesis = nemesis(folder.path(), inject_command, Some("true"), Some("rm broken"));
    let error = inject(&nemesis).await.expect_err("it fails").to_string();
    assert!(
        error.contains("inject command failed (exit status: 7)") && error.contains("no such host"),
        "{error}"
    );
    until(|| !folder.path().join("broken").exists()).await;
}

#[tokio::test]
async fn cancelled_the_injection_ends_with_all_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let inject_command = "trap '' TERM; sleep 100 & echo $! > pid; wait; sleep 100";
    let nemesis = nemesis(folder.path(), inject_command, Some("true"), Some("touch healed"));
    let pid = || std::fs::read_to_string(folder.path().join("pid")).ok()?.trim().parse::<u32>().ok();
    tokio::select! {
        injected = inject(&nemesis) => panic!("it does not end: {injected:?}"),
        () = until(|| pid().is_some()) => {}
    }
    let pid = pid().expect("it was there");
    until(|| matches!(ws_cluster::process::state_of(pid), None | Some('Z'))).await;
    until(|| folder.path().join("healed").exists()).await;
}

#[tokio::test]
async fn a_command_may_leave_something_in_the_background() {
    let folder = tempfile::tempdir().expect("a folder");
    let nemesis = nemesis(
        folder.path(),
        "sleep 100 & echo $! > pid",
        Some("kill -0 $(cat pid) && echo it sleeps"),
        Some("kill $(cat pid)"),
    );
    let mut injected = inject(&nemesis).await.expect("it does not wait for the background");
    assert_eq!(timeout(Duration::from_secs(10), injected.effective()).await.as_deref(), Ok("it sleeps"));
    injected.heal().await.expect("healed");
}

#[test]
fn a_fault_without_a_command_or_without_a_proof_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let nemesis = nemesis(folder.path(), "true", None, None);
    let refusal = |text: &str| nemesis.supports(&fault(text)).expect_err(text);
    assert!(refusal(FAULT).contains("kill-replica: it has no proof command"));
    assert!(refusal("wipe-redis@1s").contains("wipe-redis: there is no command for it"));
    assert_eq!(nemesis.supports(&fault("half-open@1s")), Ok(()));
}
