//! The kill matrix: a clean server must pass, and every broken one be caught by exactly its own property.

use std::{
    io::{IsTerminal as _, Write as _},
    process::{Command, ExitCode, Stdio},
};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use ws_analysis::{exit::Exit, property::Property};

/// The options of `self-test`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SelfTestArgs {
    /// Only the cases whose name contains this
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Show how each case is run
    #[arg(short, long)]
    verbose: bool,
}

/// One server, and what a run against it must find.
struct Case {
    /// The bug switch; none for a clean server.
    bug: Option<&'static str>,
    /// Load, faults and checks under which the bug shows.
    args: &'static str,
    /// The one property that is broken.
    breaks: Option<Property>,
}

/// In the order of the properties.
const CASES: [Case; 22] = [
    Case { bug: None, args: "-c 60 -r 500 -d 2s", breaks: None },
    Case { bug: None, args: "-c 60 -r 500 -d 6s --churn 5 --order total --order causal", breaks: None },
    Case {
        bug: None,
        args: "-c 60 -r 500 -d 7s --fault kill-pubsub@1s --fault kill-replica@2s_for_1s_on_app-2",
        breaks: None,
    },
    case("refused-but-sent", "-c 60 -r 1000 -d 2s", Property::Creation),
    case("duplicate", "-c 60 -r 1000 -d 2s", Property::Duplication),
    case("twice-on-reconnect", "-c 60 -r 500 -d 5s --fault kill-pubsub@2s", Property::Duplication),
    case("drop", "-c 60 -r 1000 -d 2s", Property::Loss),
    case("ack-early", "-c 60 -r 1000 -d 2s", Property::Loss),
    case("dead-subscription@2", "-c 60 -r 500 -d 2s", Property::Loss),
    case("join-early", "-c 30 --room-size 3 --churn 10 -r 600 -d 6s", Property::Loss),
    case("lost-on-reconnect", "-c 60 -r 500 -d 5s --fault kill-pubsub@2s", Property::Loss),
    case(
        "slow-drop",
        "-c 12 --room-size 6 -r 300 -d 6s --size 16000 --fault slow-consumer@1s_for_3s_share_0.4",
        Property::Loss,
    ),
    case("corrupt", "-c 60 -r 1000 -d 2s", Property::Integrity),
    case("leak", "-c 60 -r 1000 -d 2s", Property::Isolation),
    case("swap", "-c 60 -r 1000 -d 2s", Property::Fifo),
    case("wrong-order", "-c 60 -r 1000 -d 2s --order total", Property::TotalOrder),
    case("wrong-order", "-c 60 -r 1000 -d 2s --order causal", Property::CausalOrder),
    case("no-echo", "-c 60 -r 1000 -d 2s", Property::Echo),
    case("after-leave", "-c 60 -r 500 -d 2s", Property::Membership),
    case("false-recovered", "-c 60 -r 1000 -d 5s --fault reset-clients@1s_share_0.5", Property::Resume),
    case("late", "-c 60 -r 1000 -d 5s --deadline 1s", Property::Timeliness),
    case(
        "never-back@2",
        "-c 60 -r 500 -d 5s --settle 3s --fault cut-redis@1s_for_1s_on_app-2",
        Property::Recovery,
    ),
];

const fn case(bug: &'static str, args: &'static str, breaks: Property) -> Case {
    Case { bug: Some(bug), args, breaks: Some(breaks) }
}

/// What a run found.
struct Found {
    verdict: String,
    broken: Vec<Property>,
    reasons: String,
}

/// Runs the cases, and prints the matrix.
pub(crate) fn run(args: &SelfTestArgs) -> ExitCode {
    let name = args.name.as_deref().unwrap_or_default();
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.name().contains(name)).collect();
    if cases.is_empty() {
        eprintln!(
            "error: no case is called {name:?}; there are {}",
            CASES.each_ref().map(Case::name).join(", ")
        );
        return Exit::Usage.into();
    }
    println!(
        "{:<22}{}  verdict",
        "server",
        Property::ALL.map(|property| format!("{:>4}", property.id())).concat()
    );
    let mut wrong = 0;
    for case in &cases {
        if std::io::stderr().is_terminal() {
            eprint!("{} ...\r", case.name());
        }
        match case.run() {
            Err(error) => {
                eprintln!("error: {}: {error:#}", case.name());
                return Exit::Unreachable.into();
            }
            Ok(found) => {
                let holds = case.holds(&found);
                wrong += u32::from(!holds);
                print_row(case, &found, holds, args.verbose || !holds);
            }
        }
    }
    println!();
    match wrong {
        0 => println!("PASS  each of {} servers was judged rightly", cases.len()),
        _ => println!("FAIL  {wrong} of {} servers were judged wrongly", cases.len()),
    }
    if wrong == 0 { Exit::Pass.into() } else { Exit::Violation.into() }
}

impl Case {
    fn name(&self) -> &'static str {
        self.bug.unwrap_or("clean")
    }

    /// Our own program, so that what is tested is what users run.
    fn run(&self) -> anyhow::Result<Found> {
        let tool = std::env::current_exe().context("this program can't be found, to run it")?;
        let mut command = Command::new(tool);
        command.args(["run", "--local", "3", "--quiet", "--output-format", "json", "--seed", "7"]);
        command.args(self.args.split(' ').map(|word| word.replace('_', " ")));
        command.args(self.bug.iter().flat_map(|bug| ["--bug", *bug]));
        let output =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).output().context("it can't be run")?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("no report: {}", String::from_utf8_lossy(&output.stderr).trim()))?;
        let properties = report["properties"].as_array().context("a report without properties")?;
        let broken = properties.iter().filter(|property| property["verdict"] == "fail");
        Ok(Found {
            verdict: report["verdict"].as_str().unwrap_or_default().to_owned(),
            broken: broken.filter_map(|property| Property::by_id(property["id"].as_str()?)).collect(),
            reasons: report["reasons"].to_string(),
        })
    }

    fn holds(&self, found: &Found) -> bool {
        let verdict = if self.breaks.is_some() { "fail" } else { "pass" };
        // A bug of one replica alone must be traced to it, in the first words.
        let blamed = match self.name() {
            "dead-subscription@2" => found.reasons.starts_with(r#"["app-2 is to blame"#),
            _ => true,
        };
        found.verdict == verdict && found.broken.iter().eq(&self.breaks) && blamed
    }
}

fn print_row(case: &Case, found: &Found, holds: bool, explain: bool) {
    let mark = |property: Property| match (found.broken.contains(&property), case.breaks == Some(property)) {
        (true, true) => "   X",
        (true, false) => "   !",
        (false, true) => "   ?",
        (false, false) => "   .",
    };
    let row = Property::ALL.map(mark).concat();
    println!("{:<22}{row}  {}{}", case.name(), found.verdict, if holds { "" } else { "  WRONG" });
    if explain {
        println!("    {}\n    {}", case.args.replace('_', " "), found.reasons);
    }
    // Whoever reads along sees each row as it comes.
    let _ = std::io::stdout().flush();
}
