//! The files of scenarios/ are what their names say.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use ws_workload::{
    fault::{Fault, Kind},
    file::{self, ScenarioFile},
    scenario::{Scenario, Senders},
    size::Size,
};

fn scenarios() -> BTreeMap<String, ScenarioFile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("a file").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("text");
        assert!(text.lines().take(2).all(|line| line.starts_with("# ")), "{name} does not say what it shows");
        let file = file::parse(&text, &name).unwrap_or_else(|error| panic!("{error}"));
        (name, file)
    };
    fs::read_dir(folder).expect("the folder of scenarios").map(read).collect()
}

fn kinds(file: &ScenarioFile) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = file.faults.iter().map(|fault| fault.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

#[test]
fn each_can_be_run_alone() {
    for (name, file) in scenarios() {
        let load = &file.load;
        let connections = load.connections.expect("connections");
        let scenario = Scenario {
            connections,
            rooms: connections.div_ceil(load.room_size.expect("room_size")),
            zipf: load.zipf,
            connect_rate: load.connect_rate.unwrap_or(2000.0),
            connect_stages: load.connect_stages.clone(),
            rate: load.rate.expect("rate"),
            stages: load.stages.clone(),
            arrivals: load.arrivals.unwrap_or_default(),
            duration: load.duration.expect("duration"),
            size: load.size.unwrap_or(Size::fixed(128)),
            share_all: load.share_all.unwrap_or(0.0),
            churn: load.churn.unwrap_or(0.0),
            lifetime: load.lifetime,
            senders: load.senders.unwrap_or(Senders::All),
            seed: load.seed.unwrap_or(1),
        };
        assert_eq!(scenario.validate(), Ok(()), "{name}");
        assert_eq!(file.cluster.local, Some(3), "{name}");
        let over = file.faults.iter().map(Fault::end).max().unwrap_or_default();
        assert!(over + Duration::from_secs(5) <= scenario.duration, "{name} leaves no time to recover");
        let contract = file.check.contract.as_deref();
        let destroys = file.faults.iter().any(|fault| fault.kind.destroys_data());
        assert_eq!(contract, Some(if destroys { "no-silent-loss" } else { "exactly-once" }), "{name}");
    }
}

#[test]
fn each_fault_has_one_of_its_name() {
    let scenarios = scenarios();
    for kind in Kind::ALL {
        let file = scenarios.get(kind.name()).unwrap_or_else(|| panic!("there is no {kind}.toml"));
        assert_eq!(kinds(file), [kind], "{kind}.toml");
    }
    assert_eq!(scenarios["no-faults"].faults, []);
}

#[test]
fn everything_is_all_that_destroys_no_data_with_time_between() {
    let everything = &scenarios()["everything"];
    let all = Kind::ALL.into_iter().filter(|kind| !kind.destroys_data());
    assert_eq!(kinds(everything), all.collect::<Vec<_>>());
    assert!(
        everything.faults.windows(2).all(|pair| pair[1].at >= pair[0].end() + Duration::from_millis(2500))
    );
}

#[test]
fn the_examples_of_the_documentation_are_read() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scenarios.md");
    let text = fs::read_to_string(document).expect("text");
    let examples: Vec<&str> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().expect("a part")).collect();
    assert!(!examples.is_empty());
    for example in examples {
        file::parse(example, "docs/scenarios.md").unwrap_or_else(|error| panic!("{error} in\n{example}"));
    }
    for kind in Kind::ALL {
        assert!(text.contains(&format!("\n| `{kind}` |")), "{kind} is not described");
    }
}
